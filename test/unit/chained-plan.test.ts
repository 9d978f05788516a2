/** The nft text of host ports and forwarding, what is read back of it, and the commands that end connections. */

import { describe, expect, it } from 'vitest';
import { type Flow, forgetConnections } from '../../src/apply/conntrack.ts';
import { elementsOf } from '../../src/apply/nft.ts';
import { CommandError } from '../../src/errors.ts';
import { createKernel } from '../../src/kernel/kernel.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import { parseAddress } from '../../src/net/address.ts';
import { parsePrefix } from '../../src/net/prefix.ts';
import { foreignForwardRemarks } from '../../src/nftables/forward-chains.ts';
import { createFirewall, firewallBase } from '../../src/plan/firewall.ts';
import { createPortmap, type Portmap, portmapBase } from '../../src/plan/portmap.ts';

const address = (text: string) => parseAddress(text)!;
const web = { protocol: 'tcp', host: undefined, hostPort: 8080, containerPort: 80 } as const;
const label = 'culvert:0a1b2c3d:4e5f6071 pods web eth0';

const plain: Portmap = {
  forwards: [
    { ...web, to: address('10.22.0.5') },
    { ...web, to: address('fd00:22::5') },
    { ...web, protocol: 'udp', host: address('192.0.2.1'), to: address('10.22.0.5') },
  ],
  conditions: { 4: '', 6: '' },
  masquerade: [parsePrefix('10.22.0.5/16')!, parsePrefix('fd00:22::5/64')!],
  masqueradeAll: false,
};

describe('host ports', () => {
  it.each([
    ['portmap', plain],
    ['portmap-alone', { ...plain, masquerade: [parsePrefix('10.22.0.5/32')!, parsePrefix('fd00:22::5/128')!] }],
    ['portmap-conditions', { ...plain, conditions: { 4: 'ip daddr != 192.0.2.0/24', 6: '' }, masqueradeAll: true }],
  ])('%s', async (name, portmap) => {
    const text = portmapBase(portmap) + createPortmap(portmap, label);
    await expect(text).toMatchFileSnapshot(`../golden/${name}.nft`);
  });
});

describe('forwarding', () => {
  it.each(['open', 'same-bridge', 'isolated'] as const)('%s', async (policy) => {
    const addresses = [address('10.22.0.5'), address('fd00:22::5')];
    const text =
      firewallBase(policy) + createFirewall({ addresses, policy, bridge: 'cni0', ports: ['veth0a1b2c3d'] }, label);
    await expect(text).toMatchFileSnapshot(`../golden/firewall-${policy}.nft`);
  });

  it('names chains of others that drop', () => {
    const chain = { family: 'ip', table: 'filter', name: 'FORWARD', hook: 'forward' };
    const remarks = (...chains: object[]) =>
      foreignForwardRemarks(JSON.stringify({ nftables: chains.map((c) => ({ chain: c })) }));
    expect(remarks({ ...chain, policy: 'accept' }, { ...chain, table: 'culvert_x', policy: 'drop' })).toEqual([]);
    expect(remarks({ ...chain, policy: 'drop' })[0]).toContain('chain ip filter FORWARD drops');
    expect(remarks({ ...chain, table: 'firewalld', policy: 'accept' })[0]).toContain('firewall-cmd');
  });
});

it('elementsOf() reads keys, comments and values as nft prints them', () => {
  const shown = `table inet t {
\tmap any4 {
\t\ttype inet_proto . inet_service : ipv4_addr . inet_service
\t\telements = { 6 . 8080 comment "a b" : 10.1.2.5 . 80,
\t\t\t     17 . 53 comment "a, b: c" : 10.1.2.5 . 53 }
\t}

\tset pods6 {
\t\ttype ipv6_addr
\t\telements = { fd00::5 comment "x" }
\t}

\tset same {
\t\ttype ifname . ifname
\t\telements = { "br0" . "br0" comment "y",
\t\t\t     "br1" . "br1" comment "z" }
\t}

\tchain forward {
\t\tip saddr { 10.0.0.0/8 } accept comment "y"
\t}
}
`;
  expect(elementsOf(shown)).toEqual([
    { table: 'inet t', set: 'any4', key: '6 . 8080', comment: 'a b', value: '10.1.2.5 . 80' },
    { table: 'inet t', set: 'any4', key: '17 . 53', comment: 'a, b: c', value: '10.1.2.5 . 53' },
    { table: 'inet t', set: 'pods6', key: 'fd00::5', comment: 'x', value: '' },
    { table: 'inet t', set: 'same', key: '"br0" . "br0"', comment: 'y', value: '' },
    { table: 'inet t', set: 'same', key: '"br1" . "br1"', comment: 'z', value: '' },
  ]);
});

describe('forgetConnections()', () => {
  const flows: Flow[] = [
    { family: 4, protocol: 'udp', port: 53, dnat: '10.1.2.5' },
    { family: 6, protocol: 'tcp', port: 80, to: '2001:db8::1', dnat: 'fd00::5' },
  ];
  const run = async (fail: (argv: readonly string[]) => CommandError | undefined) => {
    const [ran, said]: [string[], string[]] = [[], []];
    const exec: Machine['exec'] = async (argv, { stdin } = {}) => {
      ran.push(stdin?.trimEnd() ?? argv.join(' '));
      const error = fail(argv);
      if (error) throw error;
      return '';
    };
    await forgetConnections(
      { exec, kernel: createKernel(exec), executable: '', warn: (t) => said.push(t), stderr: () => {} },
      flows,
    );
    return { ran, said };
  };
  const first = '-D -f ipv4 -p udp --orig-port-dst 53 --dst-nat 10.1.2.5';
  const second = '-D -f ipv6 -p tcp --orig-port-dst 80 --orig-dst 2001:db8::1 --dst-nat fd00::5';

  it('is one process', async () => {
    expect(await run(() => undefined)).toEqual({ ran: [`${first}\n${second}`], said: [] });
  });

  it('is one each for an older conntrack, whose "none" is no failure', async () => {
    const none = (argv: readonly string[]) =>
      new CommandError(argv, 1, 'conntrack: 0 flow entries have been deleted', 'other');
    const { ran, said } = await run(none);
    expect(ran.slice(1)).toEqual([`conntrack ${first}`, `conntrack ${second}`]);
    expect(said).toEqual([]);
  });

  it('says once that the program is missing', async () => {
    const { ran, said } = await run((argv) => new CommandError(argv, undefined, 'ENOENT', 'no-program'));
    expect([ran.length, said.length]).toEqual([3, 1]);
    expect(said[0]).toContain('conntrack is not installed');
  });
});

/** A network card that makes wrong checksums inside of tunnels, played by a router that drops what has none yet; and a firewall, which looks alike. */

import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Fabric, patience, read, until } from '../support/agents.ts';
import { needs } from '../support/case.ts';
import { tcpStream } from '../support/flow.ts';

let fabric: Fabric;
beforeAll(() => {
  fabric = new Fabric();
});
afterEach(async () => {
  await fabric.stop();
  for (const { host } of [node(2), node(3)]) host.try('nft delete table inet guard');
  fabric.router.try('nft delete table netdev card');
  rmSync(offloadFile(), { force: true });
});
afterAll(() => fabric.remove());

const node = (i: number) => fabric.nodes[i - 1]!;

const offloadFile = () => join(node(1).host.dir, 'run/offload.json');

const cases = [
  // UDP 8, VXLAN 8, Ethernet 14
  { mode: 'vxlan', wrapped: 'udp dport 4789', headers: 30, devices: ['culvert-vxlan'], links: [] },
  {
    mode: 'ipip',
    wrapped: 'meta l4proto { 4, 41 }',
    headers: 0,
    devices: ['culvert-ipip', 'culvert-ip6tnl'],
    links: ['ipip', 'ip6tnl'],
  },
] as const;
type Case = (typeof cases)[number];

/** The 16-bit words of an address. */
function wordsOf(address: string): number[] {
  if (!address.includes(':')) {
    const [a = 0, b = 0, c = 0, d = 0] = address.split('.').map(Number);
    return [a * 256 + b, c * 256 + d];
  }
  return address.split(':').map((group) => Number.parseInt(group || '0', 16));
}

/** What stands in a packet in place of the checksum that a device is to make: the sum of what it is about beside its own bytes. */
function unfinished(from: string, to: string, protocol: number, bytes: number): number {
  let sum = [...wordsOf(from), ...wordsOf(to), protocol, bytes].reduce((a, b) => a + b, 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

const pairs = [2, 3].flatMap((i) => [
  { headers: 20, from: '10.244.1.0', to: `10.244.${i}.0` },
  { headers: 20, from: '10.244.1.5', to: `10.244.${i}.5` },
  { headers: 40, from: 'fd00:244:1::', to: `fd00:244:${i}::` },
  { headers: 40, from: 'fd00:244:1::5', to: `fd00:244:${i}::5` },
]);
/** A SYN, and the datagram that agents send; `at`: where the checksum is. */
const kinds = [
  { protocol: 6, bytes: 40, at: 16 },
  { protocol: 17, bytes: 15, at: 6 },
];

/** From n1 nothing passes whose checksum was left to its network card. */
function breakCard({ wrapped, headers }: Case): void {
  const rules = pairs.flatMap((p) =>
    kinds.map(({ protocol, bytes, at }) => {
      const bit = (headers + p.headers + at) * 8;
      return `${wrapped} @th,${bit},16 ${unfinished(p.from, p.to, protocol, bytes)} counter drop`;
    }),
  );
  fabric.router.exec(
    'nft -f -',
    `table netdev card {
  chain out { type filter hook ingress device "n1" priority 0; ${rules.join('; ')}; }
}`,
  );
}

/** A firewall of a node that takes nothing but ICMP from tunnels. */
const guard = `table inet guard {
  chain in { type filter hook input priority 0; iifname "culvert-*" meta l4proto { tcp, udp } drop; }
}`;

/** The answer of the pod on n3 to n1's, where nobody listens: refused, or nothing. */
const knock = (address: string): string => {
  const curl = `curl -s -o /dev/null -m 3 http://${address}:9/`;
  const { status } = node(1).host.try(`nsenter --net=${node(1).pod} -- ${curl}`);
  return status === 7 ? 'refused' : status === 28 ? 'nothing' : `curl's ${status}`;
};
const answers = (): string[] => ['10.244.3.5', '[fd00:244:3::5]'].map(knock);

const isOn = (dev: string): boolean => /^\s*tx-checksum-ip-generic: on$/m.test(node(1).host.exec(`ethtool -k ${dev}`));

const said = (msg: string) =>
  node(1)
    .agent.lines.filter((l) => l.msg === msg)
    .map((l) => l['device']);
const saysOfAll = (msg: string, { devices }: Case) =>
  until(
    () => `${msg}: ${node(1).agent.output}`,
    () => devices.every((dev) => said(msg).includes(dev)),
    180_000,
  );

async function again(): Promise<void> {
  await node(1).agent.stop();
  node(1).agent.start();
  await node(1).agent.ready();
}

describe.each(cases)('$mode', (theCase) => {
  const { mode, devices, links } = theCase;

  it('makes checksums itself where the card makes them wrong, and only there', { timeout: 300_000 * patience }, async ({
    skip,
  }) => {
    for (const link of links) needs({ skip }, link, 'on demand');
    // ICMP passes and neither TCP nor UDP does, but that is a firewall's doing
    for (const i of [2, 3]) {
      node(i).host.exec('nft -f -', guard);
    }
    await fabric.start({ mode }, 'dual', 'dual');
    await saysOfAll('checksum offload is not at fault', theCase);
    expect(devices.map(isOn)).toEqual(devices.map(() => true));
    expect(JSON.parse(read(offloadFile()))).toEqual({});
    for (const i of [2, 3]) node(i).host.exec('nft delete table inet guard');
    expect(answers()).toEqual(['refused', 'refused']);

    breakCard(theCase);
    expect(answers()).toEqual(['nothing', 'nothing']);
    expect(await fabric.unreachable('dual')).toEqual([]);
    await again();
    await saysOfAll('checksum offload', theCase);
    expect(devices.map(isOn)).toEqual(devices.map(() => false));
    expect(answers()).toEqual(['refused', 'refused']);
    const stream = await tcpStream(node(1).pod, node(3).pod, '10.244.3.5');
    await sleep(300 * patience);
    const { sent, received } = await stream.stop();
    expect(received).toBe(sent);
    expect(Number.parseInt(sent, 10)).toBeGreaterThan(0);
    const { softwareChecksums } = JSON.parse(node(1).agent.get('/status')) as { softwareChecksums: string[] };
    expect(softwareChecksums).toEqual(devices);
    for (const device of devices)
      expect(node(1).agent.get('/metrics')).toContain(`culvert_checksum_offload_wrong{device="${device}"} 1`);

    // it is part of the plan: known to the next agent, put back when somebody else switches it on
    await again();
    expect(node(1).agent.applied).toEqual([]);
    expect(node(1).agent.plan()).toMatchObject({ status: 0, stdout: '' });
    node(1).host.exec(`ethtool -K ${devices[0]} tx on`);
    await until('off again', () => !isOn(devices[0]));

    // a trial that was cut short is taken back, and made anew
    await node(1).agent.stop();
    fabric.router.exec('nft delete table netdev card');
    writeFileSync(offloadFile(), JSON.stringify(Object.fromEntries(devices.map((d) => [d, 'trial']))));
    node(1).agent.start();
    await until('on again', () => devices.every(isOn));
    await until('forgotten', () => existsSync(offloadFile()) && read(offloadFile()).trim() === '{}');
  });
});

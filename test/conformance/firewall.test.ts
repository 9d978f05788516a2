/** firewall: its keys, its answer, what it lets through and keeps apart, CHECK, DEL and GC. */

import { describe, expect } from 'vitest';
import { ruleset } from '../support/bridge.ts';
import { it, itOurs } from '../support/case.ts';
import { Chained } from '../support/chain.ts';
import type { Host } from '../support/netns.ts';
import { failureOf, fine } from '../support/pod.ts';
import { errorCode } from '../support/suite.ts';

const walled = (host: Host, keys: object = {}, options: object = {}): Chained =>
  new Chained(host, { type: 'firewall', ...keys }, options);

/** The same on a second bridge. */
const elsewhere = (host: Host, keys: object = {}): Chained =>
  walled(host, keys, {
    keys: { bridge: 'br1' },
    ipam: { ranges: [[{ subnet: '10.1.3.0/24' }], [{ subnet: 'fd00:1:3::/64' }]] },
  });

const table = (host: Host): string => host.exec('nft list table inet culvert_firewall');

describe('ADD', () => {
  it('answers the previous result', ({ host }) => {
    const pod = walled(host);
    expect(pod.add()).toEqual(pod.previous);
  });

  it('without prevResult is refused', ({ host }) => {
    const error = failureOf(walled(host).call('ADD', { prevResult: undefined }));
    expect(error.code).toBe(errorCode(7));
    expect(error.msg).toContain('prevResult');
  });

  itOurs('puts every address in its family’s set, a second time too', ({ host }) => {
    const pod = walled(host);
    pod.add();
    const before = table(host);
    expect(before).toMatch(/10\.1\.2\.2 comment "culvert:/);
    expect(before).toMatch(/fd00:1:2::2 comment "culvert:/);
    pod.add();
    expect(table(host)).toBe(before);
  });

  itOurs('says nothing when nothing is odd, and names a chain that drops', ({ host }) => {
    const pod = walled(host);
    expect(pod.call('ADD').stderr).toBe('');
    host.exec('nft -f -', 'table ip mine { chain passage { type filter hook forward priority 0; policy drop; }\n}\n');
    expect(pod.call('ADD').stderr).toContain('chain ip mine passage drops forwarded packets');
  });
});

describe('keys', () => {
  it('an unknown ingressPolicy is refused', ({ host }) => {
    const error = failureOf(walled(host, { ingressPolicy: 'closed' }).call('ADD'));
    expect(error.code).toBe(errorCode(7));
    expect(error.msg).toContain('closed');
  });

  const wrong: [string, object, number, string][] = [
    ['backend', { backend: 'pf' }, 7, 'backend: got "pf"'],
    ['iptablesAdminChainName', { iptablesAdminChainName: 'ADMIN' }, 2, 'iptablesAdminChainName: got "ADMIN"'],
  ];
  itOurs.for(wrong)('%s that cannot be is refused, and nothing changes', ([, keys, code, text], { host }) => {
    const pod = walled(host, keys);
    const before = ruleset(host);
    const error = failureOf(pod.call('ADD'));
    expect(error.code).toBe(code);
    expect(error.msg).toContain(text);
    expect(ruleset(host)).toBe(before);
  });

  itOurs.for(['iptables', 'firewalld'])('backend %s is done with nftables, and said once', (backend, { host }) => {
    const { stderr } = walled(host, { backend }).call('ADD');
    expect(stderr.match(/backend/g)).toHaveLength(1);
    expect(table(host)).toContain('10.1.2.2');
  });

  itOurs('a policy without a bridge is refused', ({ host }) => {
    const pod = walled(host, { ingressPolicy: 'isolated' });
    const { interfaces: _, ips: __, ...rest } = pod.previous;
    const error = failureOf(pod.call('ADD', { prevResult: rest }));
    expect(error.code).toBe(7);
    expect(error.msg).toContain('ingressPolicy');
  });
});

describe.each([4, 6] as const)('ingressPolicy, IPv%d', (family) => {
  const pairs = (host: Host, ingressPolicy: string) => {
    const [a, b, c] = [
      walled(host, { ingressPolicy }),
      walled(host, { ingressPolicy }),
      elsewhere(host, { ingressPolicy }),
    ];
    for (const pod of [a, b, c]) pod.add();
    return { neighbour: a.pod.pings(b.address(family)), stranger: a.pod.pings(c.address(family)) };
  };

  it.for([
    ['open', { neighbour: true, stranger: true }],
    ['same-bridge', { neighbour: true, stranger: false }],
    ['isolated', { neighbour: false, stranger: false }],
  ] as const)('%s', ([policy, reached], { host }) => {
    expect(pairs(host, policy)).toEqual(reached);
  });

  itOurs('isolated holds where bridged packets are not filtered as routed ones', ({ host }) => {
    for (const name of ['iptables', 'ip6tables']) host.try(`sysctl -qw net.bridge.bridge-nf-call-${name}=0`);
    expect(pairs(host, 'isolated').neighbour).toBe(false);
  });

  it('an isolated container reaches its gateway', ({ host }) => {
    const pod = walled(host, { ingressPolicy: 'isolated' });
    pod.add();
    expect(pod.pod.pings(family === 4 ? '10.1.2.1' : 'fd00:1:2::1')).toBe(true);
  });
});

describe('CHECK', () => {
  it('finds what ADD made, and misses it after DEL', ({ host }) => {
    const pod = walled(host);
    pod.add();
    fine(pod.call('CHECK'));
    pod.del();
    expect(failureOf(pod.call('CHECK')).code).toBe(errorCode(103));
  });

  itOurs('names what is gone', ({ host }) => {
    const pod = walled(host, { ingressPolicy: 'same-bridge' });
    pod.add();
    host.exec('nft delete element inet culvert_firewall pods6 { fd00:1:2::2 }');
    host.exec('nft -f -', 'delete element inet culvert_firewall apart { "br0" }\n');
    const problems = JSON.parse(failureOf(pod.call('CHECK')).details!) as { path: string; got: string }[];
    expect(problems).toMatchObject([
      { path: 'fd00:1:2::2 in set inet culvert_firewall pods6', got: 'nothing' },
      { path: '"br0" in set inet culvert_firewall apart', got: 'nothing' },
    ]);
  });
});

itOurs('CHECK says whose element is missed, of an isolated pod', ({ host }) => {
  const pod = walled(host, { ingressPolicy: 'isolated' });
  pod.add();
  host.exec('nft -f -', 'delete element inet culvert_firewall isolated { "br0" . "br0" }\n');
  host.exec('nft -f -', 'flush set bridge culvert_firewall isolated\n');
  const problems = JSON.parse(failureOf(pod.call('CHECK')).details!) as { path: string; want: string }[];
  expect(problems.map((p) => [p.path.split(' in ')[1], p.want.slice(0, 9)])).toEqual([
    ['set bridge culvert_firewall isolated', '"culvert:'],
    ['set inet culvert_firewall isolated', '"culvert"'],
  ]);
});

describe('DEL and GC', () => {
  it('DEL twice, and of what was never added, is no error', ({ host }) => {
    const pod = walled(host);
    pod.del();
    pod.add();
    pod.del();
    pod.del();
  });

  itOurs('DEL needs neither result nor right keys, and takes only its own', ({ host }) => {
    const [pod, other] = [walled(host), walled(host)];
    pod.add();
    other.add();
    pod.del({ prevResult: undefined, backend: 7 });
    expect(table(host)).not.toContain('10.1.2.2 ');
    expect(table(host)).toContain('10.1.2.3 ');
  });

  itOurs('a late DEL leaves the next owner of the address alone', ({ host }) => {
    const first = walled(host, {}, { id: 'first' });
    first.add();
    const second = walled(host, {}, { id: 'second' });
    fine({ ...second.call('ADD', { prevResult: first.previous }), stdout: '' });
    first.del();
    expect(table(host)).toMatch(/10\.1\.2\.2 comment "culvert:[^"]*net second/);
  });

  itOurs('GC takes what is not listed, in this network only, and policies of bridges that are gone', ({ host }) => {
    const [keeps, goes] = [walled(host, {}, { id: 'keeps' }), elsewhere(host, { ingressPolicy: 'isolated' })];
    const foreign = walled(host, { name: 'other' }, { id: 'foreign' });
    for (const pod of [keeps, goes, foreign]) pod.add();
    const listed = { 'cni.dev/valid-attachments': [{ containerID: 'keeps', ifname: 'eth0' }] };
    fine(keeps.call('GC', listed));
    expect(table(host)).toContain('net keeps');
    expect(table(host)).toContain('other foreign');
    expect(table(host)).not.toContain('10.1.3.2');
    expect(table(host)).toContain('br1');
    host.exec('ip link del br1');
    fine(keeps.call('GC', listed));
    expect(ruleset(host)).not.toContain('br1');
  });
});

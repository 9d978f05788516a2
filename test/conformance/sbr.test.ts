/** sbr: rules and tables of each address, packets that go back the way they came, refusals, CHECK, DEL. */

import { describe, expect } from 'vitest';
import { podRoutes, type RouteShown } from '../support/bridge.ts';
import { it, itOurs } from '../support/case.ts';
import type { Host } from '../support/netns.ts';
import { type CniResult, failureOf, fine, Pod } from '../support/pod.ts';
import { errorCode, ours } from '../support/suite.ts';

type Keys = Record<string, unknown>;

interface Interface {
  name: string;
  /** Addresses with their gateways. */
  ips: [string, string][];
}

const net1: Interface = {
  name: 'net1',
  ips: [
    ['10.1.2.5/24', '10.1.2.1'],
    ['fd00:1:2::5/64', 'fd00:1:2::1'],
  ],
};
const net2: Interface = {
  name: 'net2',
  ips: [
    ['10.7.0.5/24', '10.7.0.1'],
    ['fd00:7::5/64', 'fd00:7::1'],
  ],
};

/** An interface of some other plugin's making, its gateways on the host at its other end. */
function connect(pod: Pod, { name, ips }: Interface): CniResult {
  const far = `far${name}`;
  pod.exec(`ip link add ${name} type veth peer name ${far}`);
  pod.exec(`ip link set ${far} netns ${pod.host.name}`);
  pod.exec(`sysctl -qw net.ipv6.conf.${name}.accept_dad=0`);
  pod.host.exec(`sysctl -qw net.ipv6.conf.${far}.accept_dad=0`);
  for (const [address, gateway] of ips) {
    pod.exec(`ip addr add ${address} dev ${name}`);
    pod.host.exec(`ip addr add ${gateway}/${address.split('/')[1]} dev ${far}`);
  }
  pod.exec(`ip link set ${name} up`);
  pod.host.exec(`ip link set ${far} up`);
  return {
    cniVersion: '1.0.0',
    interfaces: [{ name: far }, { name, sandbox: pod.netns }],
    ips: ips.map(([address, gateway]) => ({ address, gateway, interface: 1 })),
    routes: [],
  };
}

/** A container with net1 and sbr's configuration for it. */
function attached(host: Host, keys: Keys = {}): Pod {
  const conf: Keys = { cniVersion: '1.0.0', name: 'net', type: 'sbr', ...keys };
  const pod = new Pod(host, conf);
  if (!('prevResult' in keys)) conf['prevResult'] = connect(pod, net1);
  return pod;
}

const ifname = 'net1';

interface RuleShown {
  src: string;
  table: string;
}

const rules = (pod: Pod, family: 4 | 6): [string, string][] =>
  pod
    .ip<RuleShown>(`-${family} rule show`)
    .filter((r) => r.src !== 'all')
    .map((r): [string, string] => [r.src, r.table])
    .sort();

const routes = (pod: Pod, family: 4 | 6, table: string | number): [string, string | undefined][] =>
  podRoutes(pod, family, String(table))
    .filter((r: RouteShown) => !r.dst.startsWith('fe80'))
    .map((r): [string, string | undefined] => [r.dst, r.gateway])
    .sort();

describe('ADD', () => {
  it('gives each address a table with a default route and its network, and passes the result on', ({ host }) => {
    const pod = attached(host);
    const result = pod.add({ ifname });
    expect(result).toMatchObject({ ips: [{ address: '10.1.2.5/24' }, { address: 'fd00:1:2::5/64' }] });
    expect([rules(pod, 4), rules(pod, 6)]).toEqual([[['10.1.2.5', '100']], [['fd00:1:2::5', '101']]]);
    expect(routes(pod, 4, 100)).toEqual([
      ['10.1.2.0/24', undefined],
      ['default', '10.1.2.1'],
    ]);
    expect(routes(pod, 6, 101)).toEqual([
      ['default', 'fd00:1:2::1'],
      ['fd00:1:2::/64', undefined],
    ]);
    expect([routes(pod, 4, 'main'), routes(pod, 6, 'main')]).toEqual([[], []]);
  });

  it('takes routes along by their gateway, and those of nobody in particular; others’ stay', ({ host }) => {
    const pod = attached(host);
    connect(pod, net2);
    pod.exec('ip route add 192.168.0.0/16 via 10.1.2.9 metric 7');
    pod.exec('ip route add 192.169.0.0/16 dev net1 scope link');
    pod.exec('ip route add default via 10.7.0.1');
    pod.add({ ifname });
    expect(routes(pod, 4, 100)).toEqual([
      ['10.1.2.0/24', undefined],
      ['192.168.0.0/16', '10.1.2.9'],
      ['192.169.0.0/16', undefined],
      ['default', '10.1.2.1'],
    ]);
    expect(routes(pod, 4, 'main')).toEqual([
      ['10.7.0.0/24', undefined],
      ['default', '10.7.0.1'],
    ]);
  });

  it('gives several addresses of one network a table each', ({ host }) => {
    const pod = attached(host);
    pod.exec('ip addr add 10.1.2.6/24 dev net1');
    const { prevResult } = pod.conf as { prevResult: CniResult };
    prevResult.ips!.push({ address: '10.1.2.6/24', gateway: '10.1.2.1', interface: 1 });
    pod.add({ ifname });
    expect(rules(pod, 4)).toEqual([
      ['10.1.2.5', '100'],
      ['10.1.2.6', '102'],
    ]);
    expect(routes(pod, 4, 102)).toContainEqual(['default', '10.1.2.1']);
  });

  it('leaves tables alone that rules lead to', ({ host }) => {
    const pod = attached(host);
    pod.exec('ip rule add from 10.99.0.1 table 100');
    pod.exec('ip -6 rule add from fd00:99::1 table 102');
    pod.add({ ifname });
    expect([rules(pod, 4).at(-1), rules(pod, 6)[0]]).toEqual([
      ['10.99.0.1', '100'],
      ['fd00:1:2::5', '103'],
    ]);
  });

  it('with table only leads there, and moves no route', ({ host }) => {
    const pod = attached(host, { table: 5000 });
    pod.add({ ifname });
    expect([rules(pod, 4), rules(pod, 6)]).toEqual([[['10.1.2.5', '5000']], [['fd00:1:2::5', '5000']]]);
    expect(routes(pod, 4, 'main')).toEqual([['10.1.2.0/24', undefined]]);
  });

  itOurs('with gateways has default routes by them', ({ host }) => {
    const pod = attached(host, { gateways: ['10.1.2.254', 'fd00:1:2::fe'] });
    pod.add({ ifname });
    expect(routes(pod, 4, 100)).toContainEqual(['default', '10.1.2.254']);
    expect(routes(pod, 6, 101)).toContainEqual(['default', 'fd00:1:2::fe']);
  });

  itOurs('with addSourceHints keeps the networks in the main table, with the source', ({ host }) => {
    const pod = attached(host, { addSourceHints: true });
    pod.exec('ip route add default via 10.1.2.1');
    pod.add({ ifname });
    expect(routes(pod, 4, 'main')).toEqual([['10.1.2.0/24', undefined]]);
    expect(pod.exec('ip route show 10.1.2.0/24')).toContain('src 10.1.2.5');
    expect(pod.exec('ip -6 route show fd00:1:2::/64')).toContain('src fd00:1:2::5');
    expect(routes(pod, 4, 100)).toContainEqual(['default', '10.1.2.1']);
  });

  itOurs('leaves neighbours on the link to be found', ({ host }) => {
    const pod = attached(host);
    pod.add({ ifname });
    expect(pod.exec('ip -6 route show fe80::/64 dev net1')).toContain('fe80::/64');
  });
});

describe.each([4, 6] as const)('IPv%d', (family) => {
  it('an interface that has not the default route is reached from afar, and answers on itself', ({ host }) => {
    const pod = attached(host);
    connect(pod, net2);
    const far = family === 4 ? '203.0.113.1/32' : '2001:db8:9::1/128';
    host.exec(`ip addr add ${far} dev lo`);
    pod.exec(`ip route add default via ${net2.ips[family === 4 ? 0 : 1]![1]}`);
    // the way back is by the interface that the packet came in on, or none
    for (const key of ['all', 'farnet1', 'farnet2']) host.try(`sysctl -qw net.ipv4.conf.${key}.rp_filter=1`);
    pod.add({ ifname });
    const to = net1.ips[family === 4 ? 0 : 1]![0].split('/')[0]!;
    expect(host.try(`ping -n -c 2 -W 2 -I ${far.split('/')[0]} ${to}`).status).toBe(0);
    expect(pod.exec(`ip route get ${far.split('/')[0]} from ${to}`)).toContain('dev net1');
  });
});

describe('refused, with nothing changed, is', () => {
  it.for([{ table: 'x' }, { prevResult: undefined }, { prevResult: { cniVersion: '1.0.0', ips: [] } }])(
    '%j',
    (keys, { host }) => {
      const pod = attached(host, keys);
      expect(failureOf(pod.call('ADD', { ifname })).code).toBe(errorCode(7));
      expect([rules(pod, 4), rules(pod, 6)]).toEqual([[], []]);
    },
  );

  // 1.9.1 has neither gateways nor addSourceHints yet
  itOurs.for([
    { table: 0 },
    { table: -1 },
    { table: 4294967296 },
    { gateways: 'x' },
    { gateways: ['x'] },
    { gateways: ['10.1.2.1', '10.1.2.2'] },
    { gateways: ['10.1.2.1', 'fd00::1', 'fd00::2'] },
    { addSourceHints: 'yes' },
  ])('%j: code 7', (keys, { host }) => {
    expect(failureOf(attached(host, keys).call('ADD', { ifname })).code).toBe(7);
  });

  itOurs('and undone half-way, a gateway that is out of reach', ({ host }) => {
    const pod = attached(host, { gateways: ['10.77.0.1'] });
    failureOf(pod.call('ADD', { ifname }));
    expect([rules(pod, 4), rules(pod, 6), routes(pod, 4, 'main')]).toEqual([[], [], [['10.1.2.0/24', undefined]]]);
  });
});

describe('DEL', () => {
  it('removes the rules, and succeeds again', ({ host }) => {
    const pod = attached(host);
    pod.exec('ip rule add from 10.99.0.1 table 100');
    pod.add({ ifname });
    pod.del({ ifname });
    expect([rules(pod, 4), rules(pod, 6)]).toEqual([[['10.99.0.1', '100']], []]);
    if (ours) expect([routes(pod, 4, 101), routes(pod, 6, 102)]).toEqual([[], []]);
    pod.del({ ifname });
  });

  it('with table removes the rules that lead there and no route', ({ host }) => {
    const pod = attached(host, { table: 5000 });
    pod.exec('ip route add 192.168.0.0/16 via 10.1.2.9 table 5000');
    pod.exec('ip rule add from 10.1.2.5 table 6000');
    pod.add({ ifname });
    pod.del({ ifname });
    expect(rules(pod, 4)).toEqual([['10.1.2.5', '6000']]);
    expect(routes(pod, 4, 5000)).toEqual([['192.168.0.0/16', '10.1.2.9']]);
  });

  itOurs.for([
    ['the namespace', (pod: Pod) => pod.host.removePod(pod.netns), {}],
    ['no namespace known', () => {}, { netns: '' }],
    ['the addresses', (pod: Pod) => pod.exec('ip addr flush dev net1'), {}],
    ['the link', (pod: Pod) => pod.exec('ip link del net1'), {}],
    ['the rules', (pod: Pod) => pod.exec('ip rule flush'), {}],
    ['the tables', (pod: Pod) => pod.exec('ip route flush table 100'), {}],
  ] as const)('after %s was removed succeeds and leaves no rule', ([what, damage, extra], { host }) => {
    const pod = attached(host);
    pod.add({ ifname });
    damage(pod);
    pod.del({ ifname, ...extra });
    if (!what.includes('namespace')) expect([rules(pod, 4), rules(pod, 6)]).toEqual([[], []]);
  });

  itOurs('without prevResult and keys removes them by the addresses of the interface', ({ host }) => {
    const pod = attached(host);
    pod.add({ ifname });
    fine(pod.call('DEL', { ifname, conf: { cniVersion: '1.0.0', name: 'net', type: 'sbr' } }));
    expect([rules(pod, 4), rules(pod, 6)]).toEqual([[], []]);
  });
});

describe('CHECK, GC and STATUS', () => {
  it('CHECK of what ADD left is fine', ({ host }) => {
    const pod = attached(host);
    pod.add({ ifname });
    fine(pod.call('CHECK', { ifname }));
  });

  itOurs.for(['ip rule del from 10.1.2.5', 'ip -6 rule del from fd00:1:2::5', 'ip route flush table 100'])(
    'CHECK finds %s',
    (damage, { host }) => {
      const pod = attached(host);
      pod.add({ ifname });
      pod.exec(damage);
      const error = failureOf(pod.call('CHECK', { ifname }));
      expect([error.code, JSON.parse(error.details ?? '')]).toEqual([103, [expect.anything()]]);
    },
  );

  itOurs('GC has nothing to collect; STATUS names what is wrong', ({ host }) => {
    const pod = attached(host);
    fine(pod.call('GC', { conf: { ...pod.conf, cniVersion: '1.1.0' } }));
    fine(pod.call('STATUS', { conf: { ...pod.conf, cniVersion: '1.1.0' } }));
    expect(failureOf(pod.call('STATUS', { conf: { ...pod.conf, cniVersion: '1.1.0', table: 'x' } })).code).toBe(7);
  });
});

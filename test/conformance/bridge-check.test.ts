/** bridge: CHECK finds every kind of damage and says what was found and what was wanted (spec section 2, "CHECK"). */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { attach, dualStack } from '../support/bridge.ts';
import { it, itOurs } from '../support/case.ts';
import { dataDir } from '../support/ipam.ts';
import type { Host } from '../support/netns.ts';
import { type CniResult, failureOf, fine, type Pod } from '../support/pod.ts';

interface Attached {
  host: Host;
  pod: Pod;
  result: CniResult;
  veth: string;
}

function attached(host: Host, keys: Record<string, unknown> = {}): Attached {
  const routes = [{ dst: '192.168.0.0/16' }, { dst: 'fd09::/32' }];
  const pod = attach(host, { isDefaultGateway: true, ipMasq: true, ...keys }, { ipam: { ...dualStack, routes } });
  const result = pod.add();
  return { host, pod, result, veth: result.interfaces![1]!.name };
}

describe('an attachment as ADD left it', () => {
  it.for([
    {},
    { mtu: 1400 },
    { hairpinMode: true },
    { promiscMode: true },
    { portIsolation: true },
    { macspoofchk: true },
    { enabledad: true },
    { isDefaultGateway: false, isGateway: true },
    { isDefaultGateway: false },
    { ipMasq: false },
    { runtimeConfig: { mac: '02:00:00:00:00:07' } },
  ])('with %j is fine', (keys, { host }) => {
    const { pod, result } = attached(host, keys);
    fine(pod.check(result));
  });

  it('is fine beside others, and after others have gone', ({ host }) => {
    const { pod, result } = attached(host);
    const other = attached(host);
    fine(pod.check(result));
    other.pod.del();
    fine(pod.check(result));
  });

  itOurs('without ipam is fine', ({ host }) => {
    const pod = attach(host, {}, { ipam: undefined });
    fine(pod.check(pod.add()));
  });

  itOurs('with disableContainerInterface is fine', ({ host }) => {
    const pod = attach(host, { disableContainerInterface: true }, { ipam: undefined });
    fine(pod.check(pod.add()));
  });

  it('is fine with what a chained plugin has added to the result', ({ host }) => {
    const { pod, result } = attached(host);
    pod.exec('ip link add tunnel0 type veth peer name other');
    const interfaces = [...result.interfaces!, { name: 'tunnel0', sandbox: pod.netns, mac: '02:00:00:00:00:01' }];
    fine(pod.check({ ...result, interfaces }));
  });
});

/** What both suites find. */
const damages: [string, (a: Attached) => void][] = [
  ['the container’s IPv4 address is removed', ({ pod }) => pod.exec('ip addr del 10.1.2.2/24 dev eth0')],
  ['the container’s IPv6 address is removed', ({ pod }) => pod.exec('ip addr del fd00:1:2::2/64 dev eth0')],
  ['a route is removed', ({ pod }) => pod.exec('ip route del 192.168.0.0/16')],
  ['an IPv6 route is removed', ({ pod }) => pod.exec('ip -6 route del fd09::/32')],
  ['the default route is removed', ({ pod }) => pod.exec('ip route del default')],
  ['the container’s interface is removed', ({ pod }) => pod.exec('ip link del eth0')],
  ['the container’s interface has another MAC', ({ pod }) => pod.exec('ip link set eth0 address 02:00:00:00:00:99')],
  ['the host end has another MAC', ({ host, veth }) => host.exec(`ip link set ${veth} address 02:00:00:00:00:99`)],
  ['the host end is taken out of the bridge', ({ host, veth }) => host.exec(`ip link set ${veth} nomaster`)],
  ['the bridge is removed', ({ host }) => host.exec('ip link del br0')],
  ['the lease is gone', ({ host }) => rmSync(join(dataDir(host), 'net'), { recursive: true })],
];

/** What only this suite finds. */
const finer: [string, (a: Attached) => void][] = [
  ['the container’s interface is down', ({ pod }) => pod.exec('ip link set eth0 down')],
  ['the host end is down', ({ host, veth }) => host.exec(`ip link set ${veth} down`)],
  ['the bridge is down', ({ host }) => host.exec('ip link set br0 down')],
  ['the bridge lost its IPv4 address', ({ host }) => host.exec('ip addr del 10.1.2.1/24 dev br0')],
  ['the bridge lost its IPv6 address', ({ host }) => host.exec('ip addr del fd00:1:2::1/64 dev br0')],
  [
    'the host end is in another bridge',
    ({ host, veth }) => {
      host.exec('ip link add other type bridge');
      host.exec(`ip link set ${veth} master other`);
    },
  ],
  ['the masquerade is gone', ({ host }) => host.exec('nft flush ruleset')],
];

describe('CHECK fails when', () => {
  it.for(damages)('%s', ([, damage], { host }) => {
    const a = attached(host);
    damage(a);
    failureOf(a.pod.check(a.result));
  });

  itOurs.for([...damages, ...finer])('%s: code 103 and details of path, got and want', ([, damage], { host }) => {
    const a = attached(host);
    damage(a);
    const error = failureOf(a.pod.check(a.result));
    expect(error.code).toBe(103);
    const problems = JSON.parse(error.details ?? '') as Record<string, unknown>[];
    expect(problems.length).toBeGreaterThan(0);
    for (const p of problems) expect(Object.keys(p).sort()).toEqual(['got', 'path', 'want']);
  });

  itOurs('several things are wrong: all are named', ({ host }) => {
    const a = attached(host);
    a.pod.exec('ip addr del 10.1.2.2/24 dev eth0');
    a.host.exec(`ip link set ${a.veth} nomaster`);
    const error = failureOf(a.pod.check(a.result));
    expect(error.details).toContain('10.1.2.2/24');
    expect(error.details).toContain(a.veth);
  });

  it('there is no prevResult', ({ host }) => {
    failureOf(attached(host).pod.call('CHECK'));
  });

  it('prevResult has an address that the container has not', ({ host }) => {
    const { pod, result } = attached(host);
    failureOf(pod.check({ ...result, ips: [{ interface: 2, address: '10.1.2.200/24' }] }));
  });

  it('prevResult has a route that the container has not', ({ host }) => {
    const { pod, result } = attached(host);
    failureOf(pod.check({ ...result, routes: [{ dst: '172.20.0.0/16', gw: '10.1.2.1' }] }));
  });

  it('promiscMode is configured and the bridge is not', ({ host }) => {
    const { pod, result } = attached(host);
    failureOf(pod.call('CHECK', { conf: { ...pod.conf, promiscMode: true, prevResult: result } }));
  });

  itOurs('the container is gone', ({ host }) => {
    const { pod, result } = attached(host);
    host.removePod(pod.netns);
    expect([3, 4, 103]).toContain(failureOf(pod.check(result)).code);
  });
});

describe('CHECK changes nothing', () => {
  it('of links, addresses, routes, rules and leases', ({ host }) => {
    const { pod, result } = attached(host);
    const state = () => [
      host.exec('ip -o addr').replaceAll('tentative ', ''),
      host.exec('ip -o link'),
      host.exec('nft -s list ruleset'),
      pod.exec('ip -o addr').replaceAll('tentative ', ''),
      pod.exec('ip route show table all'),
    ];
    const before = state();
    fine(pod.check(result));
    expect(state()).toEqual(before);
  });
});

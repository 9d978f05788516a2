/** ptp: result, routes, packets, and what DEL, CHECK and GC make of damage. */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { addressesOn, dualStack, hostLocal, link, podAddresses, podRoutes, ruleset, veths } from '../support/bridge.ts';
import { itOurs } from '../support/case.ts';
import { it } from '../support/fixtures.ts';
import { dataDir, leased } from '../support/ipam.ts';
import { type Host, inside, run } from '../support/netns.ts';
import { Outside } from '../support/outside.ts';
import { type CniResult, failureOf, fine, Pod, resultOf } from '../support/pod.ts';
import { errorCode, ours, referenceDir } from '../support/suite.ts';

const routes = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }];

/** A container with an address of each family, on network `net` unless told otherwise. */
const attach = (host: Host, keys: Record<string, unknown> = {}): Pod =>
  new Pod(host, {
    cniVersion: '1.1.0',
    name: 'net',
    type: 'ptp',
    ipam: hostLocal(host, { ...dualStack, routes }),
    ...keys,
  });

/** ADD; the reference plugin leaves the host's IPv6 addresses tentative, so its cases wait for them. */
function added(pod: Pod): CniResult {
  const result = pod.add();
  while (!ours && pod.host.exec('ip -6 addr show tentative') !== '') pod.host.exec('sleep 0.1');
  return result;
}

const addressOf = (result: CniResult, family: 4 | 6): string =>
  result.ips!.find((ip) => ip.address.includes(':') === (family === 6))!.address.split('/')[0]!;

const expectNothing = (host: Host): void => {
  expect([veths(host), leased(host)]).toEqual([[], []]);
  expect(ruleset(host)).not.toMatch(/10\.1\.2\.[2-9]|fd00:1:2::[2-9]/);
};

describe('the result', () => {
  it('has the host end and the container end, the addresses on the latter, and the routes as IPAM gave them', ({
    host,
  }) => {
    const pod = attach(host);
    const result = pod.add();
    expect(result.interfaces?.map((i) => [i.name, i.sandbox])).toEqual([
      [veths(host)[0], undefined],
      ['eth0', pod.netns],
    ]);
    expect(result.interfaces?.map((i) => i.mac)).toEqual([
      link(host, veths(host)[0]!)?.address,
      pod.ip('link show eth0')[0]?.['address'],
    ]);
    expect(result.ips).toEqual([
      { interface: 1, address: '10.1.2.2/24', gateway: '10.1.2.1' },
      { interface: 1, address: 'fd00:1:2::2/64', gateway: 'fd00:1:2::1' },
    ]);
    expect(result.routes).toEqual(routes);
  });

  it('has the DNS settings of the configuration, else those of IPAM', ({ host }) => {
    const ipam = { type: 'static', addresses: [{ address: '10.1.2.9/24', gateway: '10.1.2.1' }], dns: { domain: 'b' } };
    expect(attach(host, { ipam, dns: { nameservers: ['10.1.2.1'] } }).add().dns).toEqual({ nameservers: ['10.1.2.1'] });
    expect(
      attach(host, { ipam: { ...ipam, addresses: [{ address: '10.1.2.8/24', gateway: '10.1.2.1' }] } }).add().dns,
    ).toEqual({
      domain: 'b',
    });
  });
});

describe('the kernel', () => {
  it('container: all but the gateway, its own network included, goes by way of the gateway', ({ host }) => {
    const pod = attach(host);
    pod.add();
    const shown = (family: 4 | 6) =>
      podRoutes(pod, family)
        .filter((r) => !r.dst.startsWith('fe80') && !r.dst.startsWith('ff00') && r.dst !== 'fd00:1:2::2')
        .map((r) => [r.dst, r.gateway])
        .sort();
    expect(shown(4)).toEqual([
      ['10.1.2.0/24', '10.1.2.1'],
      ['10.1.2.1', undefined],
      ['default', '10.1.2.1'],
    ]);
    expect(shown(6)).toEqual([
      ['default', 'fd00:1:2::1'],
      ['fd00:1:2::/64', 'fd00:1:2::1'],
      ['fd00:1:2::1', undefined],
    ]);
    expect(podAddresses(pod)).toEqual(['10.1.2.2/24', 'fd00:1:2::2/64']);
  });

  it('host: the gateway on each link, a route to each container, forwarding on', ({ host }) => {
    for (const pod of [attach(host), attach(host)]) pod.add();
    for (const name of veths(host)) {
      expect(addressesOn(host, name)).toEqual(['10.1.2.1/32', 'fd00:1:2::1/128']);
    }
    expect(host.exec('ip route show 10.1.2.3')).toMatch(/^10\.1\.2\.3 dev veth[0-9a-f]{8} scope host/);
    expect(host.exec('ip -6 route show fd00:1:2::3')).toMatch(/^fd00:1:2::3 dev veth[0-9a-f]{8}/);
    expect(host.exec('cat /proc/sys/net/ipv4/ip_forward').trim()).toBe('1');
    expect(host.exec('cat /proc/sys/net/ipv6/conf/all/forwarding').trim()).toBe('1');
  });

  it('mtu is that of both ends', ({ host }) => {
    const pod = attach(host, { mtu: 1400 });
    pod.add();
    expect([link(host, veths(host)[0]!)?.mtu, pod.ip('link show eth0')[0]?.['mtu']]).toEqual([1400, 1400]);
  });
});

describe.each([4, 6] as const)('IPv%d', (family) => {
  const gateway = family === 4 ? '10.1.2.1' : 'fd00:1:2::1';
  const far = Outside.addresses[family === 4 ? 0 : 1];

  it('a container reaches its gateway, other containers, and is reached from the host', ({ host }) => {
    const a = attach(host);
    const from = addressOf(added(a), family);
    const to = addressOf(added(attach(host)), family);
    expect([a.pings(gateway), a.pings(to)]).toEqual([true, true]);
    expect(host.try(`ping -n -c 1 -W 2 ${from}`).status).toBe(0);
  });

  itOurs('at once after ADD', ({ host }) => {
    const a = attach(host);
    a.add();
    expect(a.pings(addressOf(attach(host).add(), family))).toBe(true);
  });

  it.for([
    [false, 'the container’s'],
    [true, 'the host’s'],
  ] as const)('with ipMasq %j the address seen outside is %s', ([ipMasq], { host, outside }) => {
    const pod = attach(host, { ipMasq });
    const own = addressOf(added(pod), family);
    expect(pod.pings(far)).toBe(true);
    expect(outside.seen(family)).toEqual([ipMasq ? (family === 4 ? '192.0.2.1' : '2001:db8::1') : own]);
  });
});

describe('refused, and nothing is left, is', () => {
  const bare = { type: 'static', addresses: [{ address: '10.1.2.9/24' }] };
  it.for([
    ['no ipam', { ipam: undefined }],
    ['ipam without type', { ipam: {} }],
    ['no address', { ipam: { type: 'static' } }],
    ['an address without gateway', { ipam: bare }],
    ['ipMasq that is no flag', { ipMasq: 'yes' }],
    ['mtu that is no number', { mtu: 'big' }],
  ] as const)('%s', ([, keys], { host }) => {
    const error = failureOf(attach(host, keys).call('ADD'));
    if (ours) expect(error.code).toBe(7);
    if (ours) expectNothing(host);
  });

  itOurs.for([{ ipMasqBackend: 'ebtables' }, { mtu: -1 }, { dns: { domain: 5 } }])('%j: code 7', (keys, { host }) => {
    expect(failureOf(attach(host, keys).call('ADD')).code).toBe(errorCode(7));
    expectNothing(host);
  });

  it('an interface name that the container has', ({ host }) => {
    const pod = attach(host, { ipMasq: true });
    pod.exec('ip link add eth0 type veth peer name other');
    failureOf(pod.call('ADD'));
    expect(veths(host)).toEqual([]);
  });
});

describe('DEL', () => {
  it('removes link, lease and masquerade, and succeeds again', ({ host }) => {
    const pod = attach(host, { ipMasq: true });
    pod.add();
    pod.del();
    expectNothing(host);
    pod.del();
  });

  itOurs('with a static address and no prevResult removes the masquerade', ({ host }) => {
    const addresses = [{ address: '10.1.2.9/24', gateway: '10.1.2.1' }];
    const pod = attach(host, { ipMasq: true, ipam: { type: 'static', addresses } });
    pod.add();
    expect(ruleset(host)).toContain('10.1.2.9');
    pod.del();
    expectNothing(host);
  });

  itOurs('of a container that the reference plugin attached removes it all', ({ host, skip }) => {
    if (!referenceDir) skip('the reference plugins are not installed');
    const pod = attach(host, { cniVersion: '1.0.0', ipMasq: true });
    const prevResult = resultOf(pod.call('ADD', { bin: referenceDir!, path: referenceDir! }));
    fine(pod.call('DEL', { conf: { ...pod.conf, prevResult } }));
    expectNothing(host);
  });
});

interface Attached {
  host: Host;
  pod: Pod;
  veth: string;
}

const both: [string, (a: Attached) => void][] = [
  ['the container’s address is removed', ({ pod }) => pod.exec('ip addr del 10.1.2.2/24 dev eth0')],
  ['the container’s IPv6 address is removed', ({ pod }) => pod.exec('ip addr del fd00:1:2::2/64 dev eth0')],
  ['the default route is removed', ({ pod }) => pod.exec('ip route del default')],
  ['the container’s link is removed', ({ pod }) => pod.exec('ip link del eth0')],
  ['the container’s link has another MAC', ({ pod }) => pod.exec('ip link set eth0 address 02:00:00:00:00:99')],
  ['the lease is gone', ({ host }) => rmSync(join(dataDir(host), 'net'), { recursive: true })],
];
const finer: [string, (a: Attached) => void][] = [
  ['the container’s link is down', ({ pod }) => pod.exec('ip link set eth0 down')],
  ['the host end is down', ({ host, veth }) => host.exec(`ip link set ${veth} down`)],
  ['the host’s route is removed', ({ host }) => host.exec('ip route del 10.1.2.2')],
  ['the host’s IPv6 route is removed', ({ host }) => host.exec('ip -6 route del fd00:1:2::2')],
  ['the host end lost the gateway', ({ host, veth }) => host.exec(`ip addr del 10.1.2.1/32 dev ${veth}`)],
  ['the gateway’s route is removed', ({ pod }) => pod.exec('ip -6 route del fd00:1:2::1')],
  [
    'the network is straight on the link',
    ({ pod }) => pod.exec('ip route add 10.1.2.0/24 dev eth0 proto kernel metric 5'),
  ],
  ['the masquerade is gone', ({ host }) => host.exec('nft flush ruleset')],
];

describe('CHECK', () => {
  const checked = (host: Host, damage: (a: Attached) => void) => {
    const pod = attach(host, { ipMasq: true });
    const result = pod.add();
    damage({ host, pod, veth: result.interfaces![0]!.name });
    return pod.check(result);
  };

  it('of an attachment as ADD left it is fine', ({ host }) => {
    fine(checked(host, () => {}));
  });

  it.for(both)('fails when %s', ([, damage], { host }) => {
    expect(failureOf(checked(host, damage)).code).toBe(errorCode(103));
  });

  itOurs.for(finer)('fails when %s: code 103', ([, damage], { host }) => {
    const error = failureOf(checked(host, damage));
    expect(error.code).toBe(103);
    expect(JSON.parse(error.details ?? '[]')).not.toEqual([]);
  });
});

describe('GC and STATUS', () => {
  itOurs('GC keeps what is listed and frees the rest', ({ host }) => {
    const [stays, goes] = [attach(host, { ipMasq: true }), attach(host, { ipMasq: true })];
    stays.add();
    goes.add();
    const list = [{ containerID: stays.id, ifname: 'eth0' }];
    fine(stays.call('GC', { conf: { ...stays.conf, 'cni.dev/valid-attachments': list } }));
    expect(leased(host)).toEqual(['10.1.2.2', 'fd00:1:2::2']);
    expect(veths(host)).toHaveLength(1);
    expect(ruleset(host)).not.toContain('10.1.2.3');
    expect(stays.pings('10.1.2.1')).toBe(true);
    fine(stays.call('STATUS'));
  });
});

describe('one network and another', () => {
  it('a container on both keeps one when the other ends', ({ host }) => {
    const pod = attach(host);
    pod.add();
    const other = { ...pod.conf, name: 'other', ipam: hostLocal(host, { subnet: '10.9.0.0/24' }) };
    resultOf(pod.call('ADD', { conf: other, ifname: 'eth1' }));
    pod.del();
    expect(podAddresses(pod, 'eth1')).toEqual(['10.9.0.2/24']);
    expect(run(inside(pod.netns, 'ping -n -c 1 -W 2 10.9.0.1'))).toContain(' 0% packet loss');
  });
});

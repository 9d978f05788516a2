/** bridge: what the result says is what the kernel has. */

import { describe, expect } from 'vitest';
import { addressesOn, attach, dualStack, link, podAddresses, podRoutes, veths } from '../support/bridge.ts';
import { it, itOurs } from '../support/case.ts';
import { ForeignIpam } from '../support/foreign-ipam.ts';
import { leased } from '../support/ipam.ts';
import { failureOf } from '../support/pod.ts';

describe('interfaces', () => {
  it('are the bridge, the host end and the container end, in that order, with the kernel’s MACs', ({ host }) => {
    const pod = attach(host, { isGateway: true });
    const result = pod.add();
    expect(result.interfaces?.map((i) => i.name)).toEqual(['br0', veths(host)[0], 'eth0']);
    expect(result.interfaces?.map((i) => i.mac)).toEqual([
      link(host, 'br0')?.address,
      link(host, veths(host)[0]!)?.address,
      pod.ip('link show eth0')[0]?.['address'],
    ]);
    expect(result.interfaces?.map((i) => i.sandbox)).toEqual([undefined, undefined, pod.netns]);
  });

  it('the host end is named veth and eight digits, and a port of the bridge, up', ({ host }) => {
    const name = attach(host).add().interfaces![1]!.name;
    expect(name).toMatch(/^veth[0-9a-f]{8}$/);
    expect(link(host, name)?.master).toBe('br0');
    // operstate follows in its own time: what counts is that both ends are up
    expect(link(host, name)?.flags).toEqual(expect.arrayContaining(['UP', 'LOWER_UP']));
  });

  it('the container end carries the name of CNI_IFNAME', ({ host }) => {
    const pod = attach(host);
    expect(pod.add({ ifname: 'net1.2_x-y' }).interfaces?.[2]?.name).toBe('net1.2_x-y');
    expect(pod.ip('link').map((l) => l['ifname'])).toEqual(['lo', 'net1.2_x-y']);
  });

  it('of a gateway: the bridge keeps its MAC when further containers come and go', ({ host }) => {
    const first = attach(host, { isGateway: true });
    const mac = first.add().interfaces![0]!.mac;
    const others = [1, 2, 3].map(() => attach(host, { isGateway: true }));
    for (const pod of others) expect(pod.add().interfaces![0]!.mac).toBe(mac);
    first.del();
    expect(link(host, 'br0')?.address).toBe(mac);
  });

  it('one container on two networks has two', ({ host }) => {
    const pod = attach(host);
    pod.add();
    pod.add({ ifname: 'eth1' });
    expect(pod.ip('link').map((l) => l['ifname'])).toEqual(['lo', 'eth0', 'eth1']);
    expect(veths(host)).toHaveLength(2);
    pod.del();
    expect(pod.ip('link').map((l) => l['ifname'])).toEqual(['lo', 'eth1']);
    expect(podAddresses(pod, 'eth1')).toEqual(['10.1.2.3/24']);
  });
});

describe('names that the kernel takes and batch files, shells and nft read otherwise', () => {
  const names = [
    'a;b',
    'a#b',
    'a"b',
    "a'b",
    'a\\b',
    '$(id)',
    '`id`',
    'a|b',
    '-a',
    'ünï',
    'a{b}',
    '@a',
    'up',
    'dev',
    '*',
  ];

  itOurs.for(names)('the interface %j is that very one, or refused with code 4', (ifname, { host }) => {
    const pod = attach(host, { isGateway: true, ipMasq: true, macspoofchk: true }, { ipam: dualStack });
    const answer = pod.call('ADD', { ifname });
    if (answer.status !== 0) expect(failureOf(answer).code).toBe(4);
    else {
      expect(pod.ip('link').map((l) => l['ifname'])).toEqual(['lo', ifname]);
      pod.del({ ifname });
    }
    expect(pod.ip('link').map((l) => l['ifname'])).toEqual(['lo']);
    expect([veths(host), leased(host)]).toEqual([[], []]);
  });

  itOurs.for(names)('the bridge %j is that very one, or refused with code 7', (bridge, { host }) => {
    const pod = attach(host, { bridge, isGateway: true, ipMasq: true }, { ipam: dualStack });
    const answer = pod.call('ADD');
    if (answer.status === 0) expect(addressesOn(host, bridge)).toEqual(['10.1.2.1/24', 'fd00:1:2::1/64']);
    else expect(failureOf(answer).code).toBe(7);
    pod.del();
    expect([veths(host), leased(host)]).toEqual([[], []]);
  });
});

describe('ips', () => {
  it('belong to the container end and are on it', ({ host }) => {
    const pod = attach(host, {}, { ipam: dualStack });
    expect(pod.add().ips).toEqual([
      { interface: 2, address: '10.1.2.2/24', gateway: '10.1.2.1' },
      { interface: 2, address: 'fd00:1:2::2/64', gateway: 'fd00:1:2::1' },
    ]);
    expect(podAddresses(pod)).toEqual(['10.1.2.2/24', 'fd00:1:2::2/64']);
  });

  it('without a gateway from IPAM get the first address of their subnet when the host is the gateway', ({ host }) => {
    const ipam = new ForeignIpam(host);
    ipam.answer('ADD', { cniVersion: '1.1.0', ips: [{ address: '10.8.3.7/20' }, { address: 'fd08::7/64' }] });
    const pod = attach(host, { isGateway: true, ipam: { type: 'foreign' } });
    expect(pod.add({ path: ipam.path }).ips).toEqual([
      { interface: 2, address: '10.8.3.7/20', gateway: '10.8.0.1' },
      { interface: 2, address: 'fd08::7/64', gateway: 'fd08::1' },
    ]);
  });

  it('without a gateway have none when the host is not it', ({ host }) => {
    const ipam = new ForeignIpam(host);
    ipam.answer('ADD', { cniVersion: '1.1.0', ips: [{ address: '10.8.3.7/20' }] });
    const pod = attach(host, { ipam: { type: 'foreign' } });
    expect(pod.add({ path: ipam.path }).ips).toEqual([{ interface: 2, address: '10.8.3.7/20' }]);
  });

  it('may be several of one family', ({ host }) => {
    const pod = attach(
      host,
      { isGateway: true },
      { ipam: { ranges: [[{ subnet: 'fd01::/64' }], [{ subnet: 'fd02::/64' }]] } },
    );
    pod.add();
    expect(podAddresses(pod).sort()).toEqual(['fd01::2/64', 'fd02::2/64']);
  });
});

describe('routes', () => {
  it('without a gateway go by that of the address', ({ host }) => {
    const pod = attach(
      host,
      { isGateway: true },
      { ipam: { ...dualStack, routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] } },
    );
    pod.add();
    expect(podRoutes(pod).find((r) => r.dst === 'default')).toMatchObject({ gateway: '10.1.2.1', dev: 'eth0' });
    expect(podRoutes(pod, 6).find((r) => r.dst === 'default')).toMatchObject({ gateway: 'fd00:1:2::1', dev: 'eth0' });
  });

  it('with a gateway go by it', ({ host }) => {
    const pod = attach(host, {}, { ipam: { routes: [{ dst: '192.168.0.0/16', gw: '10.1.2.77' }] } });
    pod.add();
    expect(podRoutes(pod).find((r) => r.dst === '192.168.0.0/16')).toMatchObject({ gateway: '10.1.2.77' });
  });

  const defaultRoute = { dst: '0.0.0.0/0', mtu: 1300, advmss: 1260, priority: 50 };

  it('carry priority into the kernel', ({ host }) => {
    const pod = attach(host, { isGateway: true }, { ipam: { routes: [defaultRoute] } });
    expect(pod.add().routes).toEqual([defaultRoute]);
    expect(podRoutes(pod).find((r) => r.dst === 'default')).toMatchObject({ gateway: '10.1.2.1', metric: 50 });
  });

  itOurs('carry mtu and advmss into the kernel', ({ host }) => {
    const pod = attach(host, { isGateway: true }, { ipam: { routes: [defaultRoute] } });
    pod.add();
    expect(podRoutes(pod).find((r) => r.dst === 'default')?.metrics).toEqual([{ mtu: 1300, advmss: 1260 }]);
  });

  it('carry their table into the kernel', ({ host }) => {
    const pod = attach(host, {}, { ipam: { routes: [{ dst: '192.168.7.0/24', table: 100 }] } });
    pod.add();
    expect(podRoutes(pod, 4, '100')).toMatchObject([{ dst: '192.168.7.0/24', gateway: '10.1.2.1', dev: 'eth0' }]);
  });

  itOurs('of scope link go straight to the link', ({ host }) => {
    const pod = attach(host, {}, { ipam: { routes: [{ dst: '192.168.7.0/24', scope: 253 }] } });
    pod.add();
    const [route] = podRoutes(pod).filter((r) => r.dst === '192.168.7.0/24');
    expect(route).toMatchObject({ scope: 'link', dev: 'eth0' });
    expect(route).not.toHaveProperty('gateway');
  });

  it('of the subnet itself are the kernel’s', ({ host }) => {
    const pod = attach(host, {}, { ipam: dualStack });
    pod.add();
    expect(podRoutes(pod).map((r) => r.dst)).toEqual(['10.1.2.0/24']);
    expect(podRoutes(pod, 6).map((r) => r.dst)).toContain('fd00:1:2::/64');
  });
});

describe('dns', () => {
  const ours = { nameservers: ['192.0.2.53'], domain: 'own.example' };
  const theirs = { nameservers: ['10.9.0.53'], search: ['ipam.example'] };
  const foreign = (host: Parameters<typeof attach>[0]) => {
    const ipam = new ForeignIpam(host);
    ipam.answer('ADD', { cniVersion: '1.1.0', ips: [{ address: '10.8.3.7/20' }], dns: theirs });
    return ipam;
  };

  it('of IPAM is answered', ({ host }) => {
    const pod = attach(host, { ipam: { type: 'foreign' } });
    expect(pod.add({ path: foreign(host).path }).dns).toEqual(theirs);
  });

  it('of the configuration comes before that of IPAM, as a whole', ({ host }) => {
    const pod = attach(host, { ipam: { type: 'foreign' }, dns: ours });
    expect(pod.add({ path: foreign(host).path }).dns).toEqual(ours);
  });

  it('of the configuration is answered without IPAM too', ({ host }) => {
    expect(attach(host, { dns: ours }, { ipam: undefined }).add().dns).toEqual(ours);
  });
});

/** What macvlan, ipvlan, vlan and dummy do alike: result, addresses, refusals, CHECK, DEL after damage, GC, STATUS. */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { podAddresses, podRoutes } from '../support/bridge.ts';
import { it, itOurs, needs } from '../support/case.ts';
import { device, type Keys, linksIn, linksOn, makeMaster, shownIn } from '../support/device.ts';
import { ForeignIpam } from '../support/foreign-ipam.ts';
import { dataDir, leased } from '../support/ipam.ts';
import type { Host } from '../support/netns.ts';
import { failureOf, fine, type Pod } from '../support/pod.ts';
import { errorCode, ours } from '../support/suite.ts';

const own: Record<string, Keys> = {
  macvlan: { master: 'm0' },
  ipvlan: { master: 'm0' },
  vlan: { master: 'm0', vlanId: 7 },
  dummy: {},
};
const kinds = ['macvlan', 'ipvlan', 'vlan', 'dummy'] as const;
type Kind = (typeof kinds)[number];
const onMaster = kinds.filter((kind) => kind !== 'dummy');

/** A container of that kind on a host with the master m0. */
function attach(host: Host, kind: Kind, keys: Keys = {}): Pod {
  if (!linksOn(host).some((l) => l.ifname === 'm0')) makeMaster(host);
  return device(host, kind, { ...own[kind], ...keys });
}

const flagsOf = (pod: Pod): string[] => shownIn(pod)?.flags ?? [];

/** The plugins share what makes a device and takes it away: in a machine one of them goes through it all. */
const frequency = (kind: Kind) => (kind === 'ipvlan' ? 'always' : 'on demand');

describe.each(kinds)('%s', (kind) => {
  describe('ADD', () => {
    it('answers the container’s interface with IPAM’s addresses and routes, and makes them so', ({ host, skip }) => {
      needs({ skip }, kind);
      const pod = attach(host, kind);
      const result = pod.add();
      const shown = shownIn(pod);
      expect(result.interfaces).toEqual([{ name: 'eth0', mac: shown?.address, sandbox: pod.netns }]);
      expect(result.ips).toEqual([
        { interface: 0, address: '10.1.2.2/24', gateway: '10.1.2.1' },
        { interface: 0, address: 'fd00:1:2::2/64', gateway: 'fd00:1:2::1' },
      ]);
      expect(result.routes).toEqual([{ dst: '0.0.0.0/0' }, { dst: '192.168.0.0/16', gw: '10.1.2.9' }, { dst: '::/0' }]);
      expect(shown?.linkinfo?.info_kind).toBe(kind);
      expect(flagsOf(pod)).toContain('UP');
      expect(podAddresses(pod)).toEqual(['10.1.2.2/24', 'fd00:1:2::2/64']);
      expect(podRoutes(pod).map((r) => [r.dst, r.gateway])).toContainEqual(['default', '10.1.2.1']);
      expect(podRoutes(pod, 6).map((r) => [r.dst, r.gateway])).toContainEqual(['default', 'fd00:1:2::1']);
    });

    it.for(['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0'])('answers in %s', (cniVersion, { host, skip }) => {
      needs({ skip }, kind, 'on demand');
      const result = attach(host, kind, { cniVersion }).add() as unknown as Keys;
      expect(result['cniVersion']).toBe(cniVersion);
      if (cniVersion < '0.3.0') expect(result['ip6']).toMatchObject({ ip: 'fd00:1:2::2/64' });
      else expect(result['interfaces']).toHaveLength(1);
    });

    it('gives the name to the container’s interface though the host has a link of it', ({ host, skip }) => {
      needs({ skip }, kind, 'on demand');
      const pod = attach(host, kind);
      host.exec('ip link add eth0 type veth peer name other');
      pod.add();
      expect(linksIn(pod)).toEqual(['eth0']);
      expect(linksOn(host).map((l) => l.ifname)).toEqual(expect.arrayContaining(['lo', 'm0', 'm1', 'eth0', 'other']));
      expect(linksOn(host)).toHaveLength(5);
    });

    it('has the DNS settings of the configuration', ({ host, skip }) => {
      needs({ skip }, kind, 'on demand');
      if (kind === 'dummy' && !ours) skip('the reference leaves them out');
      expect(attach(host, kind, { dns: { nameservers: ['10.1.2.1'] } }).add().dns).toEqual({
        nameservers: ['10.1.2.1'],
      });
    });

    it('lets an IPAM plugin of somebody else find the interface, and takes what it says', ({ host, skip }) => {
      needs({ skip }, kind, 'on demand');
      const foreign = new ForeignIpam(host);
      foreign.answer('ADD', { cniVersion: '1.1.0', ips: [{ address: '10.9.0.5/24' }] });
      const pod = attach(host, kind, { ipam: { type: 'foreign' } });
      expect(pod.add({ path: foreign.path }).ips).toEqual([{ interface: 0, address: '10.9.0.5/24' }]);
      pod.del({ path: foreign.path });
      expect(foreign.commands).toEqual(['ADD', 'DEL']);
    });

    it('that fails in IPAM leaves nothing', ({ host, skip }) => {
      needs({ skip }, kind, 'on demand');
      const foreign = new ForeignIpam(host);
      const pod = attach(host, kind, { ipam: { type: 'foreign' } });
      foreign.answer('ADD', { code: 101, msg: 'none left' }, true);
      expect(failureOf(pod.call('ADD', { path: foreign.path })).code).toBe(101);
      if (ours) expect(linksIn(pod)).toEqual([]);
      foreign.answer('ADD', { cniVersion: '1.1.0' });
      rmSync(join(foreign.dir, 'ADD.fail'));
      failureOf(pod.call('ADD', { path: foreign.path }));
      if (ours) expect([linksIn(pod), foreign.commands.at(-1)]).toEqual([[], 'DEL']);
    });

    it('into a container that has such an interface fails and leaves that alone', ({ host, skip }) => {
      needs({ skip }, kind, 'on demand');
      const pod = attach(host, kind);
      pod.exec('ip link add eth0 type veth peer name other');
      failureOf(pod.call('ADD'));
      if (!ours) return;
      pod.del();
      expect(linksIn(pod).sort()).toEqual(['eth0', 'other']);
      expect([leased(host), linksOn(host).length]).toEqual([[], 3]);
    });
  });

  const bad: Keys[] = [
    { ipam: 'host-local' },
    { ipam: { type: 5 } },
    { dns: { nameservers: 'x' } },
    ...(kind === 'dummy' ? [{ ipam: undefined }, { ipam: {} }] : []),
    ...(kind === 'dummy'
      ? []
      : [
          { master: 5 },
          { master: 'nonesuch' },
          { mtu: -1 },
          { mtu: 1501 },
          { mtu: 'big' },
          { linkInContainer: 'yes' },
        ]),
    ...(kind === 'vlan' ? [{ master: '' }, { master: undefined }, { vlanId: 4095 }, { vlanId: -1 }] : []),
    ...(kind === 'vlan' ? [{ vlanId: 'x' }] : []),
    ...(kind === 'macvlan' || kind === 'ipvlan' ? [{ mode: 'other' }, { mode: 3 }] : []),
    ...(kind === 'macvlan' ? [{ mac: 'x' }, { bcqueuelen: -1 }, { runtimeConfig: { mac: 5 } }] : []),
  ];

  /** Mistakes that people make: one of each kind of device runs wherever it can. */
  const isFrequent = (keys: Keys) =>
    keys['master'] === 'nonesuch' || (kind === 'dummy' && 'ipam' in keys && keys['ipam'] === undefined);

  it.for(bad)('refuses %j, with nothing changed', (keys, { host, skip }) => {
    needs({ skip }, kind, isFrequent(keys) ? 'always' : 'on demand');
    const pod = attach(host, kind, keys);
    const error = failureOf(pod.call('ADD'));
    if (!ours) return;
    expect(error.code).toBe(7);
    expect(JSON.parse(error.details ?? '')).toMatchObject([{ path: expect.stringContaining(Object.keys(keys)[0]!) }]);
    expect([linksIn(pod), leased(host), linksOn(host).length]).toEqual([[], [], 3]);
  });

  describe('DEL', () => {
    const damages: [string, (pod: Pod) => void][] = [
      ['the namespace', (pod) => pod.host.removePod(pod.netns)],
      ['the link', (pod) => pod.exec('ip link del eth0')],
      ['the leases', (pod) => rmSync(dataDir(pod.host), { recursive: true })],
    ];
    const subsets = Array.from({ length: 2 ** damages.length }, (_, bits) =>
      damages.filter((_d, i) => bits & (1 << i)),
    );

    itOurs.for(subsets.map((s) => [s.map(([name]) => name).join(', ') || 'nothing', s] as const))(
      'after %s was removed leaves nothing, with and without the keys of the configuration',
      ([, damage], { host, skip }) => {
        const isOne = damage.length === 1 && (kind === 'ipvlan' || damage[0]![0] === 'the link');
        needs({ skip }, kind, isOne ? 'always' : 'on demand');
        const pods = [attach(host, kind), attach(host, kind, kind === 'vlan' ? { vlanId: 8 } : {})];
        for (const [i, pod] of pods.entries()) {
          pod.add();
          for (const [, remove] of damage.toSorted(([a]) => (a === 'the namespace' ? 1 : -1))) remove(pod);
          const { cniVersion, name, type, ipam } = pod.conf;
          fine(pod.call('DEL', { conf: i === 0 ? pod.conf : { cniVersion, name, type, ipam } }));
          if (!damage.some(([n]) => n === 'the namespace')) expect(linksIn(pod)).toEqual([]);
          expect([leased(host), linksOn(host).length]).toEqual([[], 3]);
        }
      },
    );

    it('succeeds again, and without a namespace', ({ host, skip }) => {
      needs({ skip }, kind, frequency(kind));
      const pod = attach(host, kind);
      pod.add();
      pod.del();
      expect([linksIn(pod), leased(host)]).toEqual([[], []]);
      pod.del();
      pod.del({ netns: '' });
    });
  });

  describe('CHECK', () => {
    const both: [string, (pod: Pod) => void][] = [
      ['an address is gone', (pod) => pod.exec('ip addr del 10.1.2.2/24 dev eth0')],
      ['the link is gone', (pod) => pod.exec('ip link del eth0')],
      ['the lease is gone', ({ host }) => rmSync(join(dataDir(host), 'net'), { recursive: true })],
    ];
    const finer: [string, (pod: Pod) => void][] = [
      ['an IPv6 address is gone', (pod) => pod.exec('ip addr del fd00:1:2::2/64 dev eth0')],
      ['the link is down', (pod) => pod.exec('ip link set eth0 down')],
      ['a route is gone', (pod) => pod.exec('ip route del 192.168.0.0/16')],
    ];
    const damaged = (pod: Pod, damage: (pod: Pod) => void) => {
      const result = pod.add();
      damage(pod);
      return pod.check(result);
    };

    it('of an attachment as ADD left it is fine', ({ host, skip }) => {
      needs({ skip }, kind, frequency(kind));
      const pod = attach(host, kind);
      fine(damaged(pod, () => {}));
    });

    it.for(both)('fails when %s', ([what, damage], { host, skip }) => {
      needs({ skip }, kind, what === 'the link is gone' ? 'always' : frequency(kind));
      expect(failureOf(damaged(attach(host, kind), damage)).code).toBe(errorCode(103));
    });

    itOurs.for(finer)('fails when %s: code 103', ([, damage], { host, skip }) => {
      needs({ skip }, kind, 'on demand');
      const error = failureOf(damaged(attach(host, kind), damage));
      expect([error.code, JSON.parse(error.details ?? '[]').length > 0]).toEqual([103, true]);
    });

    it('fails when the link is of another kind', ({ host, skip }) => {
      needs({ skip }, kind, 'on demand');
      const pod = attach(host, kind);
      const result = pod.add();
      pod.exec('ip link del eth0');
      pod.exec(`ip link add eth0 address ${result.interfaces?.[0]?.mac} type veth peer name other`);
      expect(failureOf(pod.check(result)).code).toBe(errorCode(103));
    });
  });

  itOurs('GC frees what is not listed and keeps the rest; STATUS is fine', ({ host, skip }) => {
    needs({ skip }, kind, frequency(kind));
    const [stays, goes] = [attach(host, kind), attach(host, kind, kind === 'vlan' ? { vlanId: 8 } : {})];
    stays.add();
    goes.add();
    const list = [{ containerID: stays.id, ifname: 'eth0' }];
    fine(stays.call('GC', { conf: { ...stays.conf, 'cni.dev/valid-attachments': list } }));
    expect(leased(host)).toEqual(['10.1.2.2', 'fd00:1:2::2']);
    expect(linksIn(stays)).toEqual(['eth0']);
    fine(stays.call('STATUS'));
    expect(failureOf(stays.call('STATUS', { conf: { ...stays.conf, ipam: 5 } })).code).toBe(7);
  });
});

describe.each(onMaster)('%s on its master', (kind) => {
  it.skipIf(kind === 'vlan')('is on the link of the default route when none is named', ({ host, skip }) => {
    needs({ skip }, kind, frequency(kind));
    const pod = attach(host, kind, { master: undefined });
    if (ours) expect(failureOf(pod.call('ADD')).msg).toContain('default route');
    host.exec('ip addr add 192.0.2.1/24 dev m0');
    host.exec('ip route add default via 192.0.2.2');
    fine(pod.check(pod.add()));
  });

  it('has its MTU unless told otherwise', ({ host, skip }) => {
    needs({ skip }, kind);
    const pod = attach(host, kind);
    host.exec('ip link set m0 mtu 1450');
    pod.add();
    const smaller = attach(host, kind, { mtu: 1400, ...(kind === 'vlan' ? { vlanId: 9 } : {}) });
    fine(smaller.check(smaller.add()));
    expect([shownIn(pod)?.mtu, shownIn(smaller)?.mtu]).toEqual([1450, 1400]);
  });

  it('in the container with linkInContainer', ({ host, skip }) => {
    needs({ skip }, kind, frequency(kind));
    const pod = attach(host, kind, { linkInContainer: true, master: 'in0' });
    failureOf(pod.call('ADD'));
    pod.exec('ip link add in0 type veth peer name in1');
    pod.exec('ip link set in0 up');
    fine(pod.check(pod.add()));
    expect(pod.exec('ip link show eth0')).toContain('eth0@in0');
    pod.del();
    expect(linksIn(pod).sort()).toEqual(['in0', 'in1']);
  });

  itOurs('without ipam is brought up and has no address', ({ host, skip }) => {
    needs({ skip }, kind, frequency(kind));
    const pod = attach(host, kind, { ipam: undefined });
    const result = pod.add();
    expect([result.ips, podAddresses(pod)]).toEqual([undefined, []]);
    expect(flagsOf(pod)).toContain('UP');
    fine(pod.check(result));
    pod.del();
    expect(linksIn(pod)).toEqual([]);
  });

  itOurs('CHECK names another master, STATUS one that is gone: code 50', ({ host, skip }) => {
    needs({ skip }, kind, frequency(kind));
    const pod = attach(host, kind);
    const result = pod.add();
    const other = { ...pod.conf, master: 'm1', prevResult: result };
    expect(failureOf(pod.call('CHECK', { conf: other })).msg).toContain('m1');
    expect(failureOf(pod.call('STATUS', { conf: { ...pod.conf, master: 'nonesuch' } })).code).toBe(50);
  });
});

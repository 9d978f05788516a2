/** vrf: interfaces that enter and leave, their addresses and routes, refusals, CHECK. */

import { describe, expect } from 'vitest';
import { podAddresses, podRoutes } from '../support/bridge.ts';
import { it, itOurs, needs } from '../support/case.ts';
import { type Keys, linksIn, shownIn } from '../support/device.ts';
import type { Host } from '../support/netns.ts';
import { failureOf, fine, Pod } from '../support/pod.ts';
import { errorCode, ours } from '../support/suite.ts';

/** A container with eth0 and eth1 of some other plugin's making. */
function attached(host: Host, keys: Keys = {}): Pod {
  const netns = host.pod();
  const prevResult = {
    cniVersion: '1.0.0',
    interfaces: [{ name: 'eth0', sandbox: netns }],
    ips: [{ address: '10.1.2.5/24', gateway: '10.1.2.1', interface: 0 }],
  };
  const conf = { cniVersion: '1.0.0', name: 'net', type: 'vrf', vrfname: 'blue', prevResult, ...keys };
  const pod = new Pod(host, conf, undefined, netns);
  for (const [i, name] of ['eth0', 'eth1'].entries()) {
    pod.exec(`ip link add ${name} type veth peer name far${i}`);
    pod.exec(`sysctl -qw net.ipv6.conf.${name}.accept_dad=0`);
    for (const address of [`10.1.${2 + i}.5/24`, `fd00:1:${2 + i}::5/64`])
      pod.exec(`ip addr add ${address} dev ${name}`);
    for (const end of [name, `far${i}`]) pod.exec(`ip link set ${end} up`);
  }
  pod.exec('ip route add default via 10.1.2.1');
  pod.exec('ip -6 route add default via fd00:1:2::1');
  return pod;
}

const masterOf = (pod: Pod, name = 'eth0') => shownIn(pod, name)?.master;
const tableOf = (pod: Pod, name = 'blue') => shownIn(pod, name)?.linkinfo?.info_data?.['table'];
const ifname = 'eth1';

describe('ADD', () => {
  it('makes the VRF and puts the interface in, with its addresses and routes; the result is passed on', ({
    host,
    skip,
  }) => {
    needs({ skip }, 'vrf');
    const pod = attached(host);
    expect(pod.add()).toMatchObject({ ips: [{ address: '10.1.2.5/24' }] });
    expect([masterOf(pod), tableOf(pod)]).toEqual(['blue', 1]);
    expect(shownIn(pod, 'blue')?.flags).toContain('UP');
    expect(podAddresses(pod).sort()).toEqual(['10.1.2.5/24', 'fd00:1:2::5/64']);
    for (const [family, gateway] of [
      [4, '10.1.2.1'],
      [6, 'fd00:1:2::1'],
    ] as const) {
      expect(podRoutes(pod, family, '1').find((r) => r.dst === 'default')?.gateway).toBe(gateway);
      expect(podRoutes(pod, family).filter((r) => r.dst === 'default')).toEqual([]);
    }
  });

  it('with table takes that one; a second interface enters the VRF that is there', ({ host, skip }) => {
    needs({ skip }, 'vrf');
    const pod = attached(host, { table: 77 });
    pod.add();
    pod.add({ ifname });
    expect([tableOf(pod), masterOf(pod), masterOf(pod, 'eth1')]).toEqual([77, 'blue', 'blue']);
  });

  it('gives another VRF another table', ({ host, skip }) => {
    needs({ skip }, 'vrf');
    const pod = attached(host);
    pod.add();
    const red = new Pod(host, { ...pod.conf, vrfname: 'red' }, pod.id, pod.netns);
    red.add({ ifname });
    expect([tableOf(pod), tableOf(pod, 'red')]).toEqual([1, 2]);
  });

  itOurs('keeps what is straight on the link', ({ host, skip }) => {
    needs({ skip }, 'vrf');
    const pod = attached(host);
    pod.exec('ip route add 192.168.0.1/32 dev eth0 scope link');
    pod.exec('ip route add 192.169.0.0/16 via 192.168.0.1 dev eth0');
    pod.add();
    expect(podRoutes(pod, 4, '1').map((r) => r.dst)).toEqual(
      expect.arrayContaining(['192.168.0.1', '192.169.0.0/16', '10.1.2.0/24']),
    );
  });
});

describe('refused, with nothing changed, is', () => {
  it.for([
    { vrfname: undefined },
    { vrfname: '' },
    { vrfname: 5 },
    { table: 'x' },
    { table: -1 },
    { prevResult: undefined },
  ])('%j', (keys, { host, skip }) => {
    needs({ skip }, 'vrf');
    const pod = attached(host, keys);
    expect(failureOf(pod.call('ADD')).code).toBe(errorCode(7));
    expect([masterOf(pod), linksIn(pod).length]).toEqual([undefined, 4]);
  });

  it.for([
    ['another table than the VRF has', ['ip link add blue type vrf table 9'], { table: 8 }],
    ['a name that is no VRF’s', ['ip link add blue type veth peer name x'], {}],
    ['an interface of a bridge', ['ip link add br0 type bridge', 'ip link set eth0 master br0'], {}],
    ['an interface that is not there', ['ip link del eth0'], {}],
  ] as const)('%s', ([, before, keys], { host, skip }) => {
    needs({ skip }, 'vrf');
    const pod = attached(host, keys);
    for (const line of before) pod.exec(line);
    const links = linksIn(pod);
    expect(failureOf(pod.call('ADD')).code).toBe(errorCode(7));
    if (ours) expect(linksIn(pod)).toEqual(links);
  });

  itOurs('and undone half-way, a table that cannot be', ({ host, skip }) => {
    needs({ skip }, 'vrf');
    const pod = attached(host, { table: 255 });
    const answer = pod.call('ADD');
    if (answer.status === 0) return; // a kernel that takes it
    expect([linksIn(pod).length, podRoutes(pod).find((r) => r.dst === 'default')?.gateway]).toEqual([4, '10.1.2.1']);
  });
});

describe('DEL', () => {
  it('takes the interface out, the VRF with the last', ({ host, skip }) => {
    needs({ skip }, 'vrf');
    const pod = attached(host);
    pod.add();
    pod.add({ ifname });
    pod.del();
    expect([masterOf(pod), masterOf(pod, 'eth1'), tableOf(pod)]).toEqual([undefined, 'blue', 1]);
    pod.del({ ifname });
    expect(linksIn(pod).sort()).toEqual(['eth0', 'eth1', 'far0', 'far1']);
    pod.del();
  });

  itOurs.for([
    ['the namespace', (pod: Pod) => pod.host.removePod(pod.netns)],
    ['the link', (pod: Pod) => pod.exec('ip link del eth0')],
    ['the VRF', (pod: Pod) => pod.exec('ip link del blue')],
  ] as const)('after %s was removed succeeds', ([what, damage], { host, skip }) => {
    needs({ skip }, 'vrf');
    const pod = attached(host);
    pod.add();
    damage(pod);
    pod.del();
    pod.del({ netns: '' });
    if (what !== 'the namespace') expect(linksIn(pod)).not.toContain('blue');
  });

  itOurs('without the keys of the configuration does the same', ({ host, skip }) => {
    needs({ skip }, 'vrf');
    const pod = attached(host);
    pod.add();
    fine(pod.call('DEL', { conf: { cniVersion: '1.0.0', name: 'net', type: 'vrf' } }));
    expect(linksIn(pod)).not.toContain('blue');
  });
});

describe('CHECK, GC and STATUS', () => {
  it('CHECK of what ADD left is fine, and finds an interface that left', ({ host, skip }) => {
    needs({ skip }, 'vrf');
    const pod = attached(host);
    const result = pod.add();
    fine(pod.check(result));
    pod.exec('ip link set eth0 nomaster');
    expect(failureOf(pod.check(result)).code).toBe(errorCode(103));
    pod.exec('ip link del blue');
    expect(failureOf(pod.check(result)).code).toBe(errorCode(103));
  });

  itOurs('CHECK finds another table; GC has nothing to collect; STATUS names what is wrong', ({ host, skip }) => {
    needs({ skip }, 'vrf');
    const pod = attached(host);
    const prevResult = pod.add();
    expect(failureOf(pod.call('CHECK', { conf: { ...pod.conf, table: 8, prevResult } })).msg).toContain('table');
    fine(pod.call('GC', { conf: { ...pod.conf, cniVersion: '1.1.0' } }));
    fine(pod.call('STATUS', { conf: { ...pod.conf, cniVersion: '1.1.0' } }));
    expect(failureOf(pod.call('STATUS', { conf: { ...pod.conf, cniVersion: '1.1.0', vrfname: '' } })).code).toBe(7);
  });
});

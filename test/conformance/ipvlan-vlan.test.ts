/** ipvlan and vlan: what they have not in common with other devices (device.test.ts): modes, chaining, packets. */

import { describe, expect } from 'vitest';
import { podAddresses } from '../support/bridge.ts';
import { it, itOurs, needs } from '../support/case.ts';
import { device, type Keys, linksOn, makeMaster, shownIn } from '../support/device.ts';
import type { Host } from '../support/netns.ts';
import { failureOf, fine, type Pod } from '../support/pod.ts';
import { errorCode, ours } from '../support/suite.ts';

const infoOf = (pod: Pod) => shownIn(pod)?.linkinfo?.info_data;

function attach(host: Host, type: string, keys: Keys): Pod {
  if (linksOn(host).length === 1) makeMaster(host);
  return device(host, type, { master: 'm0', ...keys });
}

describe('ipvlan', () => {
  it.for([undefined, '', 'l2', 'l3', 'l3s'])('mode %j, with the MAC of its master', (mode, { host, skip }) => {
    needs({ skip }, 'ipvlan');
    const pod = attach(host, 'ipvlan', { mode });
    const result = pod.add();
    fine(pod.check(result));
    expect([infoOf(pod)?.['mode'], result.interfaces?.[0]?.mac]).toEqual([mode || 'l2', '02:00:00:00:00:0a']);
  });

  it('mode that is another than CHECK expects is named', ({ host, skip }) => {
    needs({ skip }, 'ipvlan');
    const pod = attach(host, 'ipvlan', { mode: 'l3' });
    const prevResult = pod.add();
    expect(failureOf(pod.call('CHECK', { conf: { ...pod.conf, mode: 'l2', prevResult } })).code).toBe(errorCode(103));
  });

  const prevResult = {
    cniVersion: '1.1.0',
    interfaces: [{ name: 'm0' }],
    ips: [{ address: '10.1.2.7/24', gateway: '10.1.2.1', interface: 0 }],
    routes: [{ dst: '0.0.0.0/0' }],
  };

  it('chained sits on the one interface of prevResult, and has its addresses', ({ host, skip }) => {
    needs({ skip }, 'ipvlan');
    const pod = attach(host, 'ipvlan', { master: undefined, ipam: undefined, prevResult });
    const result = pod.add();
    expect(result).toMatchObject({ interfaces: [{ name: 'eth0' }], ips: [{ address: '10.1.2.7/24', interface: 0 }] });
    expect(podAddresses(pod)).toEqual(['10.1.2.7/24']);
    if (ours) fine(pod.check(result));
    pod.del();
  });

  it('chained behind several interfaces wants a master', ({ host, skip }) => {
    needs({ skip }, 'ipvlan');
    const several = { ...prevResult, interfaces: [{ name: 'm0' }, { name: 'm1' }] };
    const pod = attach(host, 'ipvlan', { master: undefined, ipam: undefined, prevResult: several });
    expect(failureOf(pod.call('ADD')).code).toBe(errorCode(7));
  });

  it.for([4, 6] as const)('containers reach each other by IPv%d', (family, { host, skip }) => {
    needs({ skip }, 'ipvlan');
    const [a, b] = [attach(host, 'ipvlan', {}), attach(host, 'ipvlan', {})];
    a.add();
    const to = b
      .add()
      .ips!.find((ip) => ip.address.includes(':') === (family === 6))!
      .address.split('/')[0]!;
    expect(a.pings(to)).toBe(true);
  });
});

describe('vlan', () => {
  it.for([0, 7, 4094])('vlanId %i', (vlanId, { host, skip }) => {
    needs({ skip }, 'vlan');
    const pod = attach(host, 'vlan', { vlanId });
    const result = pod.add();
    fine(pod.check(result));
    expect(infoOf(pod)?.['id']).toBe(vlanId);
    const other = { ...pod.conf, vlanId: 99, prevResult: result };
    expect(failureOf(pod.call('CHECK', { conf: other })).code).toBe(errorCode(103));
  });

  itOurs('vlanId that the master has already fails, and nothing is left', ({ host, skip }) => {
    needs({ skip }, 'vlan');
    const [a, b] = [attach(host, 'vlan', { vlanId: 7 }), attach(host, 'vlan', { vlanId: 7 })];
    a.add();
    failureOf(b.call('ADD'));
    b.del();
    expect(shownIn(a)).toBeDefined();
    expect(shownIn(b)).toBeUndefined();
  });

  it.for([4, 6] as const)('the other end of the wire is reached by IPv%d in that VLAN', (family, { host, skip }) => {
    needs({ skip }, 'vlan');
    const pod = attach(host, 'vlan', { vlanId: 7 });
    host.exec('ip link add link m1 name m1.7 type vlan id 7');
    host.exec('sysctl -qw net.ipv6.conf.m1/7.accept_dad=0');
    for (const address of ['10.1.2.1/24', 'fd00:1:2::1/64']) host.exec(`ip addr add ${address} dev m1.7`);
    host.exec('ip link set m1.7 up');
    pod.add();
    expect(pod.pings(family === 4 ? '10.1.2.1' : 'fd00:1:2::1')).toBe(true);
  });
});

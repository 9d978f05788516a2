/** bridge: ADD, DEL and what becomes of the host when they fail, repeat, or come late (spec section 2, "DEL"). */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { addressesOn, attach, dualStack, link, links, podAddresses, ruleset, veths } from '../support/bridge.ts';
import { it, itOurs } from '../support/case.ts';
import { dataDir, leased, leaseFiles } from '../support/ipam.ts';
import type { Host } from '../support/netns.ts';
import { failureOf, type Pod } from '../support/pod.ts';

const keys = { isDefaultGateway: true, ipMasq: true };

/** Nothing of an attachment: no lease, no veth, no rule with its address. */
function expectNothing(host: Host, pod: Pod): void {
  expect(leased(host)).toEqual([]);
  expect(veths(host)).toEqual([]);
  expect(ruleset(host)).not.toMatch(/10\.1\.2\.[1-9]|fd00:1:2::[1-9]/);
  expect(ruleset(host)).not.toContain(pod.id);
  expect(pod.ip('link').map((l) => l['ifname'])).toEqual(['lo']);
}

describe('ADD', () => {
  it('on a bridge that is there adds to it', ({ host }) => {
    attach(host, keys).add();
    attach(host, keys).add();
    expect(links(host).filter((l) => l.master === 'br0')).toHaveLength(2);
    expect(addressesOn(host, 'br0')).toEqual(['10.1.2.1/24']);
  });

  it('on a bridge made by hand takes it as it is', ({ host }) => {
    host.exec('ip link add br0 type bridge forward_delay 700');
    attach(host, keys).add();
    expect(link(host, 'br0')?.linkinfo).toMatchObject({ info_data: { forward_delay: 700 } });
  });

  it('on several missing bridges gives each a MAC address of its own', ({ host }) => {
    for (const bridge of ['br0', 'br1']) attach(host, { bridge }, { ipam: undefined }).add();
    expect(link(host, 'br0')?.address).not.toBe(link(host, 'br1')?.address);
  });

  it('on a link that is no bridge fails and leaves it alone', ({ host }) => {
    host.exec('ip link add br0 type veth peer name other');
    const pod = attach(host, keys);
    expect(failureOf(pod.call('ADD')).msg).toContain('br0');
    expect(link(host, 'br0')?.linkinfo?.info_kind).toBe('veth');
    expect(leased(host)).toEqual([]);
  });

  it('with an interface name that the container has fails and leaves that interface alone', ({ host }) => {
    const pod = attach(host, keys);
    pod.exec('ip link add eth0 type veth peer name other');
    const mac = pod.ip('link show eth0')[0]?.['address'];
    failureOf(pod.call('ADD'));
    expect(pod.ip('link show eth0')[0]?.['address']).toBe(mac);
    expect(leased(host)).toEqual([]);
    expect(veths(host)).toEqual([]);
  });

  itOurs('with an interface name that the container has says which', ({ host }) => {
    const pod = attach(host, keys);
    pod.exec('ip link add eth0 type veth peer name other');
    expect(failureOf(pod.call('ADD')).msg).toContain('eth0');
  });

  it('twice for one attachment fails and the first goes on working', ({ host }) => {
    const pod = attach(host, keys);
    pod.add();
    failureOf(pod.call('ADD'));
    expect(podAddresses(pod)).toEqual(['10.1.2.2/24']);
    expect(pod.pings('10.1.2.1')).toBe(true);
    expect(leased(host)).toEqual(['10.1.2.2']);
  });

  it.for([
    ['no address is left', {}, { rangeStart: '10.1.2.9', rangeEnd: '10.1.2.9', gateway: '10.1.2.9' }],
    ['a route cannot be', {}, { routes: [{ dst: '192.168.0.0/16', gw: '172.31.0.1' }] }],
    ['the range is wrong', {}, { subnet: '10.1.2.1/24' }],
    ['the mac is wrong', { runtimeConfig: { mac: 'x' } }, {}],
  ] as const)('that fails because %s leaves nothing once DEL has run', ([, more, ipam], { host }) => {
    const pod = attach(host, { ...keys, ...more }, { ipam });
    failureOf(pod.call('ADD'));
    host.call({
      plugin: 'bridge',
      command: 'DEL',
      conf: pod.conf,
      containerId: pod.id,
      netns: pod.netns,
      ifname: 'eth0',
    });
    expectNothing(host, pod);
  });

  itOurs.for([
    ['no address is left', {}, { rangeStart: '10.1.2.9', rangeEnd: '10.1.2.9', gateway: '10.1.2.9' }, ''],
    ['a route cannot be', {}, { routes: [{ dst: '192.168.0.0/16', gw: '172.31.0.1' }] }, ''],
    ['the bridge has another address', {}, {}, 'ip addr add 192.168.77.1/24 dev br0'],
    ['the container has such an interface', {}, {}, 'pod'],
    ['the mac is wrong', { runtimeConfig: { mac: 'x' } }, {}, ''],
  ] as const)('that fails because %s leaves nothing by itself', ([, more, ipam, before], { host }) => {
    host.exec('ip link add br0 type bridge');
    const pod = attach(host, { ...keys, ...more }, { ipam });
    if (before === 'pod') pod.exec('ip link add eth0 type veth peer name other');
    else if (before) host.exec(before);
    failureOf(pod.call('ADD'));
    if (before === 'pod') pod.exec('ip link del eth0');
    expectNothing(host, pod);
  });

  itOurs('works again at once after one that failed', ({ host }) => {
    const pod = attach(host, keys, { ipam: { routes: [{ dst: '192.168.0.0/16', gw: '172.31.0.1' }] } });
    failureOf(pod.call('ADD'));
    pod.del();
    const again = attach(host, keys);
    again.add();
    expect(again.pings('10.1.2.1')).toBe(true);
  });
});

describe('DEL', () => {
  it('removes the veth, the lease and the masquerade, and keeps the bridge', ({ host }) => {
    const pod = attach(host, keys, { ipam: dualStack });
    pod.add();
    pod.del();
    expectNothing(host, pod);
    expect(addressesOn(host, 'br0')).toEqual(['10.1.2.1/24', 'fd00:1:2::1/64']);
  });

  itOurs('leaves no file of the tools it uses in the home folder', ({ host }) => {
    const pod = attach(host, keys);
    pod.add();
    host.call({
      plugin: 'bridge',
      command: 'DEL',
      conf: pod.conf,
      containerId: pod.id,
      netns: pod.netns,
      ifname: 'eth0',
      env: { HOME: host.dir },
    });
    expect(readdirSync(host.dir).filter((name) => name.startsWith('.nft'))).toEqual([]);
    expectNothing(host, pod);
  });

  it('twice succeeds twice', ({ host }) => {
    const pod = attach(host, keys);
    pod.add();
    pod.del();
    pod.del();
  });

  it('without an ADD succeeds', ({ host }) => {
    attach(host, keys).del();
    expect(links(host)).toHaveLength(1);
  });

  it('of one leaves the others', ({ host }) => {
    const [a, b] = [attach(host, keys), attach(host, keys)];
    a.add();
    b.add();
    a.del();
    expect(leased(host)).toEqual(['10.1.2.3']);
    expect(b.pings('10.1.2.1')).toBe(true);
    expect(ruleset(host)).toContain('10.1.2.3');
  });

  it('after the container is gone releases its lease', ({ host }) => {
    const pod = attach(host, keys);
    pod.add();
    host.removePod(pod.netns);
    pod.del();
    expect(leased(host)).toEqual([]);
  });

  itOurs('after the container is gone removes its masquerade', ({ host }) => {
    const pod = attach(host, keys, { ipam: dualStack });
    pod.add();
    host.removePod(pod.netns);
    pod.del();
    expect(ruleset(host)).not.toMatch(/10\.1\.2\.2|fd00:1:2::2/);
  });

  itOurs('after the container is gone and with an IPAM of others, what prevResult names is removed', ({ host }) => {
    const pod = attach(host, keys);
    const prevResult = pod.add();
    host.removePod(pod.netns);
    const conf = {
      ...pod.conf,
      ipam: { type: 'host-local', subnet: '10.1.2.0/24', dataDir: join(host.dir, 'elsewhere') },
    };
    expect(pod.call('DEL', { conf: { ...conf, prevResult } }).status).toBe(0);
    expect(ruleset(host)).not.toContain('10.1.2.2');
  });

  it('without CNI_NETNS releases the lease', ({ host }) => {
    const pod = attach(host, keys);
    pod.add();
    pod.del({ netns: '' });
    expect(leased(host)).toEqual([]);
  });

  itOurs('without CNI_NETNS removes the veth and the masquerade as well', ({ host }) => {
    const pod = attach(host, keys);
    pod.add();
    pod.del({ netns: '' });
    expect(veths(host)).toEqual([]);
    expect(ruleset(host)).not.toContain('10.1.2.2');
  });

  it('when the interface was removed by hand releases the lease', ({ host }) => {
    const pod = attach(host, keys);
    pod.add();
    pod.exec('ip link del eth0');
    pod.del();
    expect(leased(host)).toEqual([]);
  });

  it('when the bridge was removed by hand succeeds', ({ host }) => {
    const pod = attach(host, keys);
    pod.add();
    host.exec('ip link del br0');
    pod.del();
    expectNothing(host, pod);
  });

  itOurs('when the rules were flushed by hand succeeds', ({ host }) => {
    const pod = attach(host, keys);
    pod.add();
    host.exec('nft flush ruleset');
    pod.del();
    expect(leased(host)).toEqual([]);
  });

  itOurs('with a configuration that ADD would refuse still removes', ({ host }) => {
    const pod = attach(host, keys);
    pod.add();
    const conf = { ...pod.conf, mtu: 'big', vlan: 9999, prevResult: 'none' };
    expect(pod.call('DEL', { conf }).status).toBe(0);
    expect(veths(host)).toEqual([]);
    expect(leased(host)).toEqual([]);
  });

  it('and ADD again gives the next address', ({ host }) => {
    const pod = attach(host, keys);
    pod.add();
    pod.del();
    expect(pod.add().ips?.[0]?.address).toBe('10.1.2.3/24');
    expect(Object.keys(leaseFiles(host))).toEqual(['10.1.2.3', 'last_reserved_ip.0']);
    expect(dataDir(host)).toContain(host.dir);
  });
});

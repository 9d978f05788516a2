/** The result of ADD in the shape of every protocol version (spec section 5, and the same section of each older version). */

import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { it, itOurs } from '../support/case.ts';
import type { Host } from '../support/netns.ts';
import { Pod } from '../support/pod.ts';

const versions = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
const oldest = versions.slice(0, 2);
const middle = versions.slice(2, 5);
const newest = versions.slice(5);

const ipam = (host: Host) => ({
  type: 'host-local',
  dataDir: join(host.dir, 'leases'),
  ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1:2::/64' }]],
  routes: [{ dst: '0.0.0.0/0' }, { dst: '192.168.0.0/16', gw: '10.1.2.9' }, { dst: '::/0' }],
});

const hostLocal = (host: Host, cniVersion: string) =>
  new Pod(host, { cniVersion, name: 'net', type: 'host-local', ipam: ipam(host) });

const bridge = (host: Host, cniVersion: string) =>
  new Pod(host, { cniVersion, name: 'net', type: 'bridge', bridge: 'br0', isGateway: true, ipam: ipam(host) });

const routes = [{ dst: '0.0.0.0/0' }, { dst: '192.168.0.0/16', gw: '10.1.2.9' }, { dst: '::/0' }];
const oldestShape = {
  ip4: {
    ip: '10.1.2.2/24',
    gateway: '10.1.2.1',
    routes: [{ dst: '0.0.0.0/0' }, { dst: '192.168.0.0/16', gw: '10.1.2.9' }],
  },
  ip6: { ip: 'fd00:1:2::2/64', gateway: 'fd00:1:2::1', routes: [{ dst: '::/0' }] },
  dns: {},
};

describe('host-local', () => {
  it.for(oldest)('answers ip4 and ip6 in %s', (cniVersion, { host }) => {
    expect(hostLocal(host, cniVersion).add()).toEqual({ cniVersion, ...oldestShape });
  });

  it.for(middle)('answers a list of addresses with their family in %s', (cniVersion, { host }) => {
    expect(hostLocal(host, cniVersion).add()).toEqual({
      cniVersion,
      ips: [
        { version: '4', address: '10.1.2.2/24', gateway: '10.1.2.1' },
        { version: '6', address: 'fd00:1:2::2/64', gateway: 'fd00:1:2::1' },
      ],
      routes,
      dns: {},
    });
  });

  it.for(newest)('answers a list of addresses in %s', (cniVersion, { host }) => {
    const result = hostLocal(host, cniVersion).add();
    expect({ dns: {}, ...result }).toEqual({
      cniVersion,
      ips: [
        { address: '10.1.2.2/24', gateway: '10.1.2.1' },
        { address: 'fd00:1:2::2/64', gateway: 'fd00:1:2::1' },
      ],
      routes,
      dns: {},
    });
  });

  it('answers in 0.1.0 to a configuration without a version', ({ host }) => {
    const { ipam: own } = hostLocal(host, '').conf;
    const pod = new Pod(host, { name: 'net', type: 'host-local', ipam: own });
    expect(pod.add()).toEqual({ cniVersion: '0.1.0', ...oldestShape });
  });
});

describe('bridge', () => {
  it.for(oldest)('answers ip4 and ip6 and no interfaces in %s', (cniVersion, { host }) => {
    expect(bridge(host, cniVersion).add()).toEqual({ cniVersion, ...oldestShape });
  });

  it.for(middle)('answers interfaces, and the container one for each address, in %s', (cniVersion, { host }) => {
    const pod = bridge(host, cniVersion);
    const mac = expect.stringMatching(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
    expect(pod.add()).toEqual({
      cniVersion,
      interfaces: [
        { name: 'br0', mac },
        { name: expect.stringMatching(/^veth[0-9a-f]{8}$/), mac },
        { name: 'eth0', mac, sandbox: pod.netns },
      ],
      ips: [
        { version: '4', interface: 2, address: '10.1.2.2/24', gateway: '10.1.2.1' },
        { version: '6', interface: 2, address: 'fd00:1:2::2/64', gateway: 'fd00:1:2::1' },
      ],
      routes,
      dns: {},
    });
  });

  it.for(newest)('answers addresses without their family in %s', (cniVersion, { host }) => {
    const result = bridge(host, cniVersion).add();
    expect(result.cniVersion).toBe(cniVersion);
    expect(result.ips).toEqual([
      { interface: 2, address: '10.1.2.2/24', gateway: '10.1.2.1' },
      { interface: 2, address: 'fd00:1:2::2/64', gateway: 'fd00:1:2::1' },
    ]);
    expect(result.routes).toEqual(routes);
  });

  it.for(versions)('is deleted in %s', (cniVersion, { host }) => {
    const pod = bridge(host, cniVersion);
    const prevResult = pod.add();
    pod.del({});
    const again = pod.call('DEL', { conf: { ...pod.conf, prevResult } });
    expect(again).toMatchObject({ status: 0, stdout: '' });
    expect(pod.ip('link').map((l) => l['ifname'])).toEqual(['lo']);
  });

  it.for(versions.slice(4))('CHECK takes its own result as prevResult in %s', (cniVersion, { host }) => {
    const pod = bridge(host, cniVersion);
    expect(pod.check(pod.add())).toMatchObject({ status: 0, stdout: '' });
  });

  itOurs('CHECK takes a prevResult of an older version', ({ host }) => {
    const pod = bridge(host, '1.0.0');
    const result = pod.add();
    const ips = result.ips!.map((ip) => ({ version: ip.address.includes(':') ? '6' : '4', ...ip }));
    expect(pod.check({ ...result, cniVersion: '0.4.0', ips })).toMatchObject({ status: 0, stdout: '' });
  });
});

describe('loopback', () => {
  const loopback = (host: Host, cniVersion: string) => new Pod(host, { cniVersion, name: 'net', type: 'loopback' });

  itOurs.for(oldest)('answers ip4 and ip6 in %s', (cniVersion, { host }) => {
    expect(loopback(host, cniVersion).add()).toEqual({
      cniVersion,
      ip4: { ip: '127.0.0.1/8' },
      ip6: { ip: '::1/128' },
      dns: {},
    });
  });

  itOurs.for(middle)('answers lo and its addresses with their family in %s', (cniVersion, { host }) => {
    const pod = loopback(host, cniVersion);
    expect(pod.add()).toEqual({
      cniVersion,
      interfaces: [{ name: 'lo', mac: '00:00:00:00:00:00', sandbox: pod.netns }],
      ips: [
        { version: '4', interface: 0, address: '127.0.0.1/8' },
        { version: '6', interface: 0, address: '::1/128' },
      ],
      dns: {},
    });
  });

  it.for(newest)('answers lo and its addresses in %s', (cniVersion, { host }) => {
    const pod = loopback(host, cniVersion);
    expect({ dns: {}, ...pod.add() }).toEqual({
      cniVersion,
      interfaces: [{ name: 'lo', mac: '00:00:00:00:00:00', sandbox: pod.netns }],
      ips: [
        { interface: 0, address: '127.0.0.1/8' },
        { interface: 0, address: '::1/128' },
      ],
      dns: {},
    });
  });
});

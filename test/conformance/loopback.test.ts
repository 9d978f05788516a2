/** loopback: lo up after ADD, whatever the interface's name, and the previous result passed through (spec section 2, "ADD"). */

import { describe, expect } from 'vitest';
import { it, itOurs } from '../support/case.ts';
import type { Host } from '../support/netns.ts';
import { failureOf, fine, Pod } from '../support/pod.ts';

const attach = (host: Host, cniVersion = '1.1.0', more = {}) =>
  new Pod(host, { cniVersion, name: 'lo', type: 'loopback', ...more });

const isUp = (pod: Pod) => (pod.ip<{ flags: string[] }>('link show lo')[0]?.flags ?? []).includes('UP');

describe('ADD', () => {
  it('brings lo up', ({ host }) => {
    const pod = attach(host);
    expect(isUp(pod)).toBe(false);
    pod.add();
    expect(isUp(pod)).toBe(true);
    expect(pod.pings('127.0.0.1')).toBe(true);
    expect(pod.pings('::1')).toBe(true);
  });

  it('works on lo whatever CNI_IFNAME says', ({ host }) => {
    const pod = attach(host);
    expect(pod.add({ ifname: 'eth7' }).interfaces).toEqual([
      { name: 'lo', mac: '00:00:00:00:00:00', sandbox: pod.netns },
    ]);
  });

  it('succeeds on a lo that is up already', ({ host }) => {
    const pod = attach(host);
    expect(pod.add()).toEqual(pod.add());
  });

  it.for([
    [
      '1.1.0',
      {
        cniVersion: '1.1.0',
        interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:01', sandbox: '/x', mtu: 1400 }],
        ips: [{ interface: 0, address: '10.0.0.2/24', gateway: '10.0.0.1' }],
        routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1', mtu: 1300, priority: 5 }],
        dns: { nameservers: ['10.0.0.1'], domain: 'd', search: ['a', 'b'], options: ['ndots:2'] },
      },
    ],
    [
      '0.4.0',
      {
        cniVersion: '0.4.0',
        interfaces: [{ name: 'eth0', sandbox: '/x' }],
        ips: [{ version: '4', interface: 0, address: '10.0.0.2/24' }],
        dns: {},
      },
    ],
    ['0.3.1', { cniVersion: '0.3.1', ips: [{ version: '6', address: 'fd00::2/64' }], dns: { nameservers: ['::1'] } }],
    ['0.2.0', { cniVersion: '0.2.0', ip4: { ip: '10.0.0.2/24', routes: [{ dst: '0.0.0.0/0' }] }, dns: {} }],
  ] as const)('passes the previous result of %s through unchanged', ([cniVersion, prevResult], { host }) => {
    const pod = attach(host, cniVersion, { prevResult });
    expect(pod.add()).toEqual(prevResult);
    expect(isUp(pod)).toBe(true);
  });

  itOurs('turns a previous result of an older version into the shape of its own', ({ host }) => {
    const prevResult = { cniVersion: '0.4.0', ips: [{ version: '4', address: '10.0.0.2/24' }], dns: {} };
    expect(attach(host, '1.0.0', { prevResult }).add().ips).toEqual([{ address: '10.0.0.2/24' }]);
  });

  it.for([
    'text',
    5,
    [],
    { cniVersion: '1.1.0', ips: 'none' },
    { cniVersion: '1.1.0', ips: [{ address: 'nowhere' }] },
    { cniVersion: '7.0.0' },
  ])('refuses the previous result %j', (prevResult, { host }) => {
    const pod = attach(host, '1.1.0', { prevResult });
    expect(failureOf(pod.call('ADD')).code).toBeGreaterThan(0);
  });

  itOurs('refuses a wrong previous result before it touches lo, with code 7 and the path', ({ host }) => {
    const pod = attach(host, '1.1.0', { prevResult: { cniVersion: '1.1.0', ips: [{ address: 'nowhere' }] } });
    const error = failureOf(pod.call('ADD'));
    expect(error.code).toBe(7);
    expect(error.msg).toContain('prevResult.ips[0].address');
    expect(isUp(pod)).toBe(false);
  });
});

describe('CHECK', () => {
  it('succeeds while lo is up', ({ host }) => {
    const pod = attach(host);
    fine(pod.check(pod.add()));
  });

  it('fails when lo is down', ({ host }) => {
    const pod = attach(host);
    const result = pod.add();
    pod.exec('ip link set lo down');
    expect(failureOf(pod.check(result)).msg).toBe('loopback interface is down');
  });

  itOurs('says with code 103 what was found and what was wanted', ({ host }) => {
    const pod = attach(host);
    const result = pod.add();
    pod.exec('ip link set lo down');
    const error = failureOf(pod.check(result));
    expect(error.code).toBe(103);
    expect(JSON.parse(error.details!)).toEqual([{ path: 'link lo', got: 'down', want: 'up' }]);
  });

  itOurs('says with code 3 that the container is gone', ({ host }) => {
    const pod = attach(host);
    const result = pod.add();
    host.removePod(pod.netns);
    expect(failureOf(pod.check(result)).code).toBe(3);
  });
});

describe('DEL', () => {
  it('brings lo down', ({ host }) => {
    const pod = attach(host);
    pod.add();
    pod.del();
    expect(isUp(pod)).toBe(false);
  });

  it('succeeds twice, without CNI_NETNS, and when the container is gone', ({ host }) => {
    const pod = attach(host);
    pod.add();
    pod.del();
    pod.del();
    pod.del({ netns: '' });
    host.removePod(pod.netns);
    pod.del();
  });

  it('succeeds without an ADD', ({ host }) => {
    attach(host).del();
  });
});

describe('GC and STATUS', () => {
  it.for(['GC', 'STATUS'])(
    '%s succeeds: there is nothing to collect and nothing that could be missing',
    (command, { host }) => {
      fine(host.call({ plugin: 'loopback', command, conf: { cniVersion: '1.1.0', name: 'lo', type: 'loopback' } }));
    },
  );
});

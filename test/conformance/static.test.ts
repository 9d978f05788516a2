/** static: where the addresses come from, and what goes with them. */

import { describe, expect } from 'vitest';
import { podAddresses, podRoutes } from '../support/bridge.ts';
import { it, itOurs } from '../support/case.ts';
import type { Host } from '../support/netns.ts';
import { failureOf, fine, Pod } from '../support/pod.ts';
import { errorCode } from '../support/suite.ts';

type Keys = Record<string, unknown>;

const pod = (host: Host, ipam: unknown, more: Keys = {}): Pod =>
  new Pod(host, { cniVersion: '1.1.0', name: 'net', type: 'static', ipam, ...more }, undefined, '/run/netns/unused');

const given = (host: Host, ipam: Keys, more: Keys = {}, args = '') =>
  pod(host, { type: 'static', ...ipam }, more).add({ args }).ips ?? [];

const a4 = { address: '10.10.0.1/24', gateway: '10.10.0.254' };
const a6 = { address: '3ffe:ffff:0:1ff::1/64', gateway: '3ffe:ffff:0::1' };

describe('the addresses', () => {
  it.for([
    ['of the configuration', { addresses: [a4, a6] }, {}, '', [a4, { ...a6, gateway: '3ffe:ffff::1' }]],
    ['without gateways', { addresses: [{ address: '10.10.0.1/24' }] }, {}, '', [{ address: '10.10.0.1/24' }]],
    [
      'several of a family',
      { addresses: [a4, { address: '10.10.0.2/24' }] },
      {},
      '',
      [a4, { address: '10.10.0.2/24' }],
    ],
    ['of CNI_ARGS', {}, {}, 'IP=10.10.0.1/24', [{ address: '10.10.0.1/24' }]],
    [
      'of CNI_ARGS with gateways, each with the address of its prefix',
      {},
      {},
      'IP=10.10.0.1/24, fd00::1/64 ,11.11.0.1/24;GATEWAY=11.11.0.9,fd00::9',
      [
        { address: '10.10.0.1/24' },
        { address: 'fd00::1/64', gateway: 'fd00::9' },
        { address: '11.11.0.1/24', gateway: '11.11.0.9' },
      ],
    ],
    [
      'of CNI_ARGS after those of the configuration',
      { addresses: [a4] },
      {},
      'IP=10.20.0.1/24;GATEWAY=10.10.0.7',
      [a4, { address: '10.20.0.1/24' }],
    ],
    [
      'of args before those and CNI_ARGS',
      { addresses: [a4] },
      { args: { cni: { ips: ['10.3.0.1/24', 'fd00::3/64'] } } },
      'IP=10.20.0.1/24',
      [{ address: '10.3.0.1/24' }, { address: 'fd00::3/64' }],
    ],
    [
      'of runtimeConfig before all others',
      { addresses: [a4] },
      { args: { cni: { ips: ['10.3.0.1/24'] } }, runtimeConfig: { ips: ['10.4.0.1/24'] } },
      'IP=10.20.0.1/24',
      [{ address: '10.4.0.1/24' }],
    ],
    ['of empty lists: those of the configuration', { addresses: [a4] }, { runtimeConfig: { ips: [] } }, '', [a4]],
    ['none at all', {}, {}, '', []],
  ] as const)('%s', ([, ipam, more, args, want], { host }) => {
    expect(given(host, ipam as Keys, more as Keys, args)).toEqual(want);
  });
});

describe('the result', () => {
  it('has the routes and the DNS settings of ipam, and no interface', ({ host }) => {
    const routes = [
      { dst: '0.0.0.0/0' },
      { dst: '192.168.0.0/16', gw: '10.10.5.1' },
      { dst: '3ffe:ffff::/48', mtu: 1400 },
    ];
    const dns = { nameservers: ['8.8.8.8'], domain: 'example.com', search: ['example.com'], options: ['ndots:2'] };
    const result = pod(host, { type: 'static', addresses: [a4], routes, dns }).add();
    expect(result).toEqual({ cniVersion: '1.1.0', ips: [a4], routes, dns });
  });

  it('in version 0.2.0 has one address of each family', ({ host }) => {
    const conf = pod(host, { type: 'static', addresses: [a4, a6] }, { cniVersion: '0.2.0' });
    expect(conf.add()).toMatchObject({ ip4: { ip: '10.10.0.1/24' }, ip6: { ip: '3ffe:ffff:0:1ff::1/64' } });
  });
});

describe('refused is', () => {
  it.for([
    ['no ipam', undefined, {}, ''],
    ['an address without prefix length', { addresses: [{ address: '10.10.0.1' }] }, {}, ''],
    ['an address that is none', { addresses: [{ address: 'ten/24' }] }, {}, ''],
    ['no address', { addresses: [{}] }, {}, ''],
    ['a gateway that is none', { addresses: [{ ...a4, gateway: 'x' }] }, {}, ''],
    ['an address of args without prefix length', {}, { args: { cni: { ips: ['10.3.0.1'] } } }, ''],
    ['an address of runtimeConfig without prefix length', {}, { runtimeConfig: { ips: ['10.3.0.1'] } }, ''],
    ['two of a family before 0.3.0', { addresses: [a4, a4] }, { cniVersion: '0.2.0' }, ''],
    ['a list that is none', { addresses: 'x' }, {}, ''],
  ] as const)('%s: code 7', ([, ipam, more], { host }) => {
    const conf = pod(host, ipam, more as Keys);
    expect(failureOf(conf.call('ADD')).code).toBe(errorCode(7));
  });

  it.for(['IP=10.10.0.1', 'IP=10.10.0.1/24,', 'IP=10.10.0.1/24;GATEWAY=x', 'NOPE=1'])(
    'CNI_ARGS %s: code 4',
    (args, { host }) => {
      expect(failureOf(pod(host, { type: 'static' }).call('ADD', { args })).code).toBe(errorCode(4));
    },
  );

  itOurs('everything wrong at once, by its path', ({ host }) => {
    const error = failureOf(
      pod(
        host,
        { type: 'static', addresses: [a4, { address: 'x', gateway: 'y' }], routes: [{ dst: 'z' }], dns: { domain: 5 } },
        { runtimeConfig: { ips: ['w'] } },
      ).call('ADD'),
    );
    for (const path of [
      'addresses[1].address',
      'addresses[1].gateway',
      'routes[0].dst',
      'dns.domain',
      'runtimeConfig.ips[0]',
    ]) {
      expect(error.msg).toContain(path);
    }
  });
});

describe('CHECK', () => {
  const conf = { type: 'static', addresses: [a4, { address: '10.10.0.2/24' }] };
  const ip = (address: string, gateway?: string) => ({ address, ...(gateway ? { gateway } : {}) });

  it('of what ADD answered is fine', ({ host }) => {
    const p = pod(host, conf);
    fine(p.check(p.add()));
  });

  it('of a result with further addresses, and gateways where none is configured, is fine', ({ host }) => {
    const ips = [ip('10.10.0.1/24', '10.10.0.254'), ip('10.10.0.2/24', '10.10.0.9'), ip('10.10.0.3/24')];
    fine(pod(host, conf).check({ cniVersion: '1.1.0', ips }));
  });

  it('finds another gateway', ({ host }) => {
    const ips = [ip('10.10.0.1/24', '10.10.0.1'), ip('10.10.0.2/24')];
    expect(failureOf(pod(host, conf).check({ cniVersion: '1.1.0', ips })).code).toBe(errorCode(103));
  });

  it('needs prevResult', ({ host }) => {
    expect(failureOf(pod(host, conf).call('CHECK')).code).toBe(errorCode(7));
  });

  itOurs('finds every address that is missing', ({ host }) => {
    const error = failureOf(pod(host, conf).check({ cniVersion: '1.1.0', ips: [] }));
    expect(error.code).toBe(103);
    expect(JSON.parse(error.details ?? '')).toHaveLength(2);
  });
});

describe('DEL, GC and STATUS', () => {
  it('DEL succeeds, whatever the configuration', ({ host }) => {
    pod(host, { type: 'static', addresses: 'x' }).del();
  });

  itOurs('GC and STATUS succeed; what is wrong is refused', ({ host }) => {
    fine(pod(host, { type: 'static' }).call('GC'));
    fine(pod(host, { type: 'static', addresses: [a4] }).call('STATUS'));
    expect(failureOf(pod(host, { type: 'static', addresses: [{}] }).call('STATUS')).code).toBe(7);
    const list = { 'cni.dev/valid-attachments': 'all' };
    expect(failureOf(pod(host, { type: 'static' }, list).call('GC')).code).toBe(7);
  });
});

describe('under bridge', () => {
  it('the container has the addresses and routes', ({ host }) => {
    const ipam = {
      type: 'static',
      addresses: [{ address: '10.1.2.9/24', gateway: '10.1.2.1' }, { address: 'fd00:1:2::9/64' }],
      routes: [{ dst: '0.0.0.0/0' }],
    };
    const p = new Pod(host, {
      cniVersion: '1.1.0',
      name: 'net',
      type: 'bridge',
      bridge: 'br0',
      isGateway: true,
      ipMasq: true,
      ipam,
    });
    const result = p.add();
    expect(podAddresses(p)).toEqual(['10.1.2.9/24', 'fd00:1:2::9/64']);
    expect(podRoutes(p).map((r) => r.dst)).toEqual(['default', '10.1.2.0/24']);
    expect(p.pings('10.1.2.1')).toBe(true);
    fine(p.check(result));
    p.del();
    expect(p.ip('link').map((l) => l['ifname'])).toEqual(['lo']);
  });
});

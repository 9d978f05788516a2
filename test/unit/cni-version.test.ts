import { describe, expect, it } from 'vitest';
import type { Result } from '../../src/cni/types.ts';
import { atLeast, decodeResult, encodeResult, isSupported, supportedVersions } from '../../src/cni/version.ts';
import type { ConfigError } from '../../src/errors.ts';
import { parseAddress } from '../../src/net/address.ts';
import { parsePrefix } from '../../src/net/prefix.ts';

const full: Result = {
  interfaces: [
    { name: 'br0', mac: '02:00:00:00:00:01', mtu: 1500 },
    { name: 'eth0', mac: '02:00:00:00:00:02', sandbox: '/run/netns/a', socketPath: '/s', pciID: '0000:00:1f.6' },
  ],
  ips: [
    { address: parsePrefix('10.1.2.3/24')!, gateway: parseAddress('10.1.2.1')!, interface: 1 },
    { address: parsePrefix('fd00::3/64')! },
    { address: parsePrefix('10.9.0.3/24')! },
  ],
  routes: [
    {
      dst: parsePrefix('0.0.0.0/0')!,
      gw: parseAddress('10.1.2.1')!,
      mtu: 1400,
      advmss: 1360,
      priority: 5,
      table: 0,
      scope: 253,
    },
    { dst: parsePrefix('::/0')! },
  ],
  dns: { nameservers: ['10.1.2.1'], domain: 'd', search: ['a'], options: ['o'] },
};

describe('encodeResult()', () => {
  it.each(['0.1.0', '0.2.0'])('%s: the first address of each family with that family’s routes', (version) => {
    expect(encodeResult(full, version)).toEqual({
      cniVersion: version,
      ip4: { ip: '10.1.2.3/24', gateway: '10.1.2.1', routes: [{ dst: '0.0.0.0/0', gw: '10.1.2.1' }] },
      ip6: { ip: 'fd00::3/64', routes: [{ dst: '::/0' }] },
      dns: { nameservers: ['10.1.2.1'], domain: 'd', search: ['a'], options: ['o'] },
    });
  });

  it.each(['0.3.0', '0.3.1', '0.4.0'])(
    '%s: addresses with their family, interfaces without the keys of 1.0',
    (version) => {
      expect(encodeResult(full, version)).toMatchObject({
        cniVersion: version,
        ips: [
          { version: '4', interface: 1, address: '10.1.2.3/24', gateway: '10.1.2.1' },
          { version: '6', address: 'fd00::3/64' },
          { version: '4', address: '10.9.0.3/24' },
        ],
      });
      expect(encodeResult(full, version)['interfaces']).toEqual([
        { name: 'br0', mac: '02:00:00:00:00:01' },
        { name: 'eth0', mac: '02:00:00:00:00:02', sandbox: '/run/netns/a' },
      ]);
    },
  );

  it('1.1.0: everything', () => {
    expect(encodeResult(full, '1.1.0')).toEqual({
      cniVersion: '1.1.0',
      interfaces: full.interfaces,
      ips: [
        { interface: 1, address: '10.1.2.3/24', gateway: '10.1.2.1' },
        { address: 'fd00::3/64' },
        { address: '10.9.0.3/24' },
      ],
      routes: [
        { dst: '0.0.0.0/0', gw: '10.1.2.1', mtu: 1400, advmss: 1360, priority: 5, table: 0, scope: 253 },
        { dst: '::/0' },
      ],
      dns: full.dns,
    });
  });

  it('an empty result has an empty dns below 1.0 and none from there on', () => {
    const empty: Result = { interfaces: [], ips: [], routes: [], dns: {} };
    expect(encodeResult(empty, '0.4.0')).toEqual({ cniVersion: '0.4.0', dns: {} });
    expect(encodeResult(empty, '1.0.0')).toEqual({ cniVersion: '1.0.0' });
  });
});

describe('decodeResult()', () => {
  it.each(['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'])(
    'of what encodeResult() wrote in %s keeps addresses and routes',
    (version) => {
      const { ips, routes, dns } = decodeResult(encodeResult(full, version), '1.1.0', 'prevResult');
      expect({ ips, routes, dns }).toEqual({ ips: full.ips, routes: full.routes, dns: full.dns });
    },
  );

  it('of 1.1.0 is the same result', () => {
    expect(decodeResult(encodeResult(full, '1.1.0'), '0.1.0', '')).toEqual(full);
  });

  it('without a version is read in the one given', () => {
    const { ips } = decodeResult({ ip4: { ip: '10.1.2.3/24' } }, '0.2.0', '');
    expect(ips).toEqual([{ address: parsePrefix('10.1.2.3/24') }]);
  });

  it.each([
    ['text', 'prevResult'],
    [{ cniVersion: '3.0.0' }, 'prevResult.cniVersion'],
    [{ cniVersion: '1.1.0', ips: {} }, 'prevResult.ips'],
    [{ cniVersion: '1.1.0', ips: [{}] }, 'prevResult.ips[0].address'],
    [{ cniVersion: '1.1.0', ips: [{ address: '1.2.3.4/33' }] }, 'prevResult.ips[0].address'],
    [{ cniVersion: '1.1.0', routes: [{ gw: '1.2.3.4' }] }, 'prevResult.routes[0].dst'],
    [{ cniVersion: '1.1.0', routes: [{ dst: '::/0', gw: '1.2.3.4' }] }, 'prevResult.routes[0].gw'],
    [{ cniVersion: '1.1.0', interfaces: [5] }, 'prevResult.interfaces[0]'],
    [{ cniVersion: '1.1.0', dns: { nameservers: 'x' } }, 'prevResult.dns.nameservers'],
  ])('refuses %j and names %s', (value, path) => {
    try {
      decodeResult(value, '1.1.0', 'prevResult');
      expect.unreachable();
    } catch (error) {
      expect((error as ConfigError).problems.map((p) => p.path)).toEqual([path]);
    }
  });
});

describe('versions', () => {
  it('are ordered as released', () => {
    expect(supportedVersions.filter((v) => atLeast(v, '0.4.0'))).toEqual(['0.4.0', '1.0.0', '1.1.0']);
  });

  it.each(['', '0.5.0', '1.0', '1.1.0 ', '__proto__'])('%j is not supported', (version) => {
    expect(isSupported(version)).toBe(false);
  });
});

/** Shaping: the configuration, the plan as commands, and what is read back of tc. */

import { describe, expect, it } from 'vitest';
import { decodeBandwidthConf } from '../../plugins/bandwidth/conf.ts';
import { filtersOf, qdiscsOf } from '../../src/apply/bandwidth.ts';
import type { Request } from '../../src/cni/types.ts';
import { ConfigError } from '../../src/errors.ts';
import { parsePrefix } from '../../src/net/prefix.ts';
import { type Bandwidth, planBandwidth, renderTc, type Tbf } from '../../src/plan/bandwidth.ts';
import { diff } from '../../src/plan/diff.ts';
import { emptyState, mergeStates } from '../../src/plan/host.ts';
import { render } from '../../src/plan/render.ts';

const on = {
  host: 'veth0a1b2c3d',
  ifb: { ingress: 'bwi0a1b2c3d', egress: 'bwp0a1b2c3d' },
  mac: '02:00:00:00:00:01',
  label: 'culvert:0a1b2c3d:4e5f6071 pods web eth0',
  mtu: 1450,
};
const rate = { bitsPerSecond: 8_000_000, burstBits: 8_000_000 };
const prefixes = (...texts: string[]) => texts.map((text) => parsePrefix(text)!);
const none = { shaped: [], unshaped: [] };

describe('planBandwidth()', () => {
  const cases: [string, Bandwidth][] = [
    ['bandwidth', { ingress: rate, egress: rate, ...none }],
    [
      'bandwidth-unshaped',
      { ingress: rate, egress: rate, shaped: [], unshaped: prefixes('10.0.0.0/8', 'fd00::/45', 'fd01::2/128', '::/0') },
    ],
    ['bandwidth-shaped', { egress: rate, shaped: prefixes('0.0.0.0/0', '192.0.2.1/32', 'fd00::/64'), unshaped: [] }],
  ];
  it.each(cases)('%s', async (name, bandwidth) => {
    const { links, objects } = planBandwidth(bandwidth, on);
    const ip = diff(emptyState(), mergeStates({ links }))
      .flatMap(render)
      .map((l) => `ip ${l.text}\n`);
    const tc = objects.map((o) => `tc ${renderTc(o)}\n`);
    await expect([...ip, ...tc].join('')).toMatchFileSnapshot(`../golden/${name}.txt`);
  });

  const buckets: [string, number, number | undefined, Omit<Tbf, 'kind' | 'dev'>][] = [
    ['none', 80e6, undefined, { rate: 10e6, burst: 2e6, limit: 1.25e6 }],
    ['a small one', 80e6, 800, { rate: 10e6, burst: 2e6, limit: 1.25e6 }],
    ['a large one', 80e6, 800e6, { rate: 10e6, burst: 100e6, limit: 1.25e6 }],
    ['what kubelet fills in', 80e6, 2 ** 31 - 1, { rate: 10e6, burst: 2e6, limit: 1.25e6 }],
    ['what containerd fills in', 80e6, 2 ** 32 - 1, { rate: 10e6, burst: 2e6, limit: 1.25e6 }],
    ['one deeper than the kernel counts', 8e3, 32e9, { rate: 1e3, burst: 250e3, limit: 32_768 }],
    ['less than two packets', 8e3, undefined, { rate: 1e3, burst: 2928, limit: 32_768 }],
    ['a rate beyond every link', 8e15, undefined, { rate: 1e15, burst: 2 ** 32 - 1, limit: 2 ** 32 - 1 }],
    ['the slowest rate', 1, undefined, { rate: 1, burst: 2928, limit: 32_768 }],
  ];
  it.each(buckets)('burst: %s', (_name, bitsPerSecond, burstBits, bucket) => {
    const { objects } = planBandwidth({ ingress: { bitsPerSecond, burstBits }, ...none }, on);
    expect(objects).toEqual([{ kind: 'tbf', dev: on.host, ...bucket }]);
  });
});

describe('decodeBandwidthConf()', () => {
  const decode = (conf: object) => decodeBandwidthConf({ conf } as Request);
  const wrong = (conf: object): string[] => {
    try {
      decode(conf);
    } catch (error) {
      if (error instanceof ConfigError) return error.problems.map((p) => p.path);
      throw error;
    }
    return [];
  };

  it.each([
    [
      { ingressRate: -1, egressRate: 1.5, ingressBurst: '8', egressBurst: 2 ** 35 },
      ['ingressRate', 'ingressBurst', 'egressRate', 'egressBurst'],
    ],
    [{ runtimeConfig: { bandwidth: { ingressBurst: 8 } } }, ['runtimeConfig.bandwidth.ingressRate']],
    [{ shapedSubnets: ['x'], unshapedSubnets: [5] }, ['shapedSubnets[0]', 'unshapedSubnets[0]']],
    [{ runtimeConfig: { bandwidth: [] } }, ['runtimeConfig.bandwidth']],
  ])('%j: wrong are %j', (conf, paths) => {
    expect(wrong(conf).sort()).toEqual([...paths].sort());
  });

  it('takes its own rates before the runtime’s, and its subnets for both', () => {
    const runtimeConfig = { bandwidth: { egressRate: 16 } };
    expect(decode({ ingressRate: 8, runtimeConfig })).toEqual({
      ingress: { bitsPerSecond: 8, burstBits: undefined },
      ...none,
    });
    const unshapedSubnets = ['10.0.0.7/8'];
    expect(decode({ unshapedSubnets, runtimeConfig })).toEqual({
      egress: { bitsPerSecond: 16, burstBits: undefined },
      shaped: [],
      unshaped: prefixes('10.0.0.0/8'),
    });
  });
});

it('qdiscsOf() takes token buckets at the root, and clsact', () => {
  const shown = JSON.stringify([
    { kind: 'noqueue', handle: '0:', dev: 'lo', root: true, options: {} },
    { kind: 'tbf', handle: '1:', dev: 'a', root: true, options: { rate: 1000, burst: 2000, lat: 5, limit: 3000 } },
    { kind: 'tbf', handle: '2:', dev: 'a', parent: '1:1', options: { rate: 1, burst: 2, limit: 3 } },
    { kind: 'clsact', handle: 'ffff:', dev: 'b', parent: 'ffff:fff1', options: {} },
  ]);
  expect(qdiscsOf(shown)).toEqual([
    { kind: 'tbf', dev: 'a', rate: 1000, burst: 2000, limit: 3000 },
    { kind: 'clsact', dev: 'b' },
  ]);
  expect(qdiscsOf('')).toEqual([]);
});

it('filtersOf() reads matches and where they lead', () => {
  const shown = `filter protocol ipv6 pref 2 u32 chain 0 
filter protocol ipv6 pref 2 u32 chain 0 fh 801: ht divisor 1 
filter protocol ipv6 pref 2 u32 chain 0 fh 801::800 order 2048 key ht 801 bkt 0 *flowid 1:1 not_in_hw 
  match fd080000/ffffffff at 24
  match 00000000/fff80000 at 28
filter protocol all pref 3 u32 chain 0 fh 802::800 order 2048 key ht 802 bkt 0 terminal flowid not_in_hw 
  match 00000000/00000000 at 0
	action order 1: mirred (Egress Redirect to device bwp0a1b2c3d) stolen
	index 1 ref 1 bind 1
`;
  expect(filtersOf(shown, 'v')).toEqual([
    { kind: 'filter', dev: 'v', protocol: 'ipv6', match: ['fd080000/ffffffff at 24', '00000000/fff80000 at 28'] },
    { kind: 'filter', dev: 'v', protocol: 'all', match: ['00000000/00000000 at 0'], redirect: 'bwp0a1b2c3d' },
  ]);
});

import { describe, expect, it } from 'vitest';
import { Fields } from '../../src/decode.ts';
import { ConfigError } from '../../src/errors.ts';
import { formatAddress, parseAddress } from '../../src/net/address.ts';
import {
  candidates,
  checkRangeSets,
  decodeRange,
  decodeRangeSets,
  formatRange,
  formatRangeSet,
  type Range,
  type RangeSet,
  sizeOf,
} from '../../src/net/range.ts';

type Given = Record<string, unknown>;

const decode = (value: Given): Range => Fields.read(value, 'r', decodeRange)!;

/** "path: want" of everything wrong. */
function problemsOf(read: () => unknown): string[] {
  try {
    read();
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map((p) => `${p.path}: ${p.want}`);
    throw error;
  }
  return [];
}

function decodeSets(ranges: unknown): RangeSet[] {
  return Fields.read({ ranges }, '', (f) => {
    const places = new Map<Range, string>();
    const sets = decodeRangeSets(f, 'ranges', places);
    f.problems.push(...checkRangeSets(sets, places));
    return sets;
  });
}

describe('decodeRange()', () => {
  const cases: [Given, string, string][] = [
    [{ subnet: '10.1.2.0/24' }, '10.1.2.1-10.1.2.254', '10.1.2.1'],
    [{ subnet: '10.1.2.0/30' }, '10.1.2.1-10.1.2.2', '10.1.2.1'],
    [{ subnet: '0.0.0.0/0' }, '0.0.0.1-255.255.255.254', '0.0.0.1'],
    [{ subnet: 'fd00::/64' }, 'fd00::1-fd00::ffff:ffff:ffff:ffff', 'fd00::1'],
    [{ subnet: 'fd00::4/126' }, 'fd00::5-fd00::7', 'fd00::5'],
    [{ subnet: '10.1.0.0/16', rangeStart: '10.1.5.0' }, '10.1.5.0-10.1.255.254', '10.1.0.1'],
    [{ subnet: '10.1.0.0/16', rangeEnd: '10.1.5.0' }, '10.1.0.1-10.1.5.0', '10.1.0.1'],
    [{ subnet: '10.1.2.0/24', rangeStart: '10.1.2.0', rangeEnd: '10.1.2.255' }, '10.1.2.0-10.1.2.255', '10.1.2.1'],
    [{ subnet: '10.1.2.0/24', gateway: '10.9.9.9' }, '10.1.2.1-10.1.2.254', '10.9.9.9'],
    [{ subnet: '10.1.2.0/24', rangeStart: '::ffff:10.1.2.9' }, '10.1.2.9-10.1.2.254', '10.1.2.1'],
    [{ subnet: '10.1.2.0/24', rangeStart: '', rangeEnd: null, gateway: '' }, '10.1.2.1-10.1.2.254', '10.1.2.1'],
  ];
  it.each(cases)('reads %j as %s with gateway %s', (given, want, gateway) => {
    expect([formatRange(decode(given)), formatAddress(decode(given).gateway)]).toEqual([want, gateway]);
  });

  const wrong: [Given, string[]][] = [
    [{}, ['r.subnet: a network such as "10.1.0.0/16"']],
    [{ subnet: '' }, ['r.subnet: a network such as "10.1.0.0/16"']],
    [{ subnet: '10.1.2.0' }, ['r.subnet: an address with a prefix length such as "10.1.0.0/16"']],
    [{ subnet: 7 }, ['r.subnet: an address with a prefix length such as "10.1.0.0/16"']],
    [{ subnet: '10.1.2.0/31' }, ['r.subnet: a network large enough to lease from, /30 or shorter']],
    [{ subnet: '10.1.2.1/32' }, ['r.subnet: a network large enough to lease from, /30 or shorter']],
    [{ subnet: 'fd00::/127' }, ['r.subnet: a network large enough to lease from, /126 or shorter']],
    [{ subnet: '10.1.2.5/24' }, ['r.subnet: "10.1.2.0/24": no host bits may be set']],
    [{ subnet: 'fd00::1/64' }, ['r.subnet: "fd00::/64": no host bits may be set']],
    [{ subnet: '10.1.2.0/24', rangeStart: '10.1.3.1' }, ['r.rangeStart: an address in 10.1.2.0/24']],
    [{ subnet: '10.1.2.0/24', rangeEnd: '10.1.3.1' }, ['r.rangeEnd: an address in 10.1.2.0/24']],
    [{ subnet: '10.1.2.0/24', rangeEnd: 'fd00::1' }, ['r.rangeEnd: an address in 10.1.2.0/24']],
    [{ subnet: '10.1.2.0/24', rangeStart: '10.1.2.255' }, ['r.rangeStart: an address in 10.1.2.0/24 up to 10.1.2.254']],
    [{ subnet: '10.1.2.0/24', rangeEnd: '10.1.2.0' }, ['r.rangeEnd: an address in 10.1.2.0/24 from 10.1.2.1 on']],
    [
      { subnet: '10.1.2.0/24', rangeStart: '10.1.2.9', rangeEnd: '10.1.2.8' },
      ['r.rangeStart: an address in 10.1.2.0/24 up to 10.1.2.8'],
    ],
    [{ subnet: '10.1.2.0/24', gateway: 'fd00::1' }, ['r.gateway: an IPv4 address, as the subnet is one']],
    [
      { subnet: '10.1.2.9/24', rangeStart: 'x', gateway: 5 },
      [
        'r.subnet: "10.1.2.0/24": no host bits may be set',
        'r.rangeStart: an IPv4 or IPv6 address',
        'r.gateway: an IPv4 or IPv6 address',
      ],
    ],
  ];
  it.each(wrong)('refuses %j', (given, want) => {
    expect(problemsOf(() => decode(given)).sort()).toEqual(want.sort());
  });
});

describe('range sets', () => {
  it.each([
    ['an empty set', [[{ subnet: '10.1.0.0/24' }], []], ['ranges[1]: at least one range']],
    ['a set that is no list', [{ subnet: '10.1.0.0/24' }], ['ranges[0]: a list of objects']],
    [
      'two families in a set',
      [[{ subnet: '10.1.0.0/24' }, { subnet: 'fd00::/64' }]],
      ['ranges[0][1].subnet: an IPv4 network like the first of its set: a set has one family'],
    ],
    [
      'overlap inside a set',
      [[{ subnet: '10.1.0.0/24' }, { subnet: '10.1.0.0/16', rangeEnd: '10.1.0.1' }]],
      ['ranges[0][1]: no address of ranges[0][0] (10.1.0.1-10.1.0.254)'],
    ],
    [
      'overlap between sets, the first inside the second',
      [[{ subnet: 'fd00::/120' }], [{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00::/64' }]],
      ['ranges[2][0]: no address of ranges[0][0] (fd00::1-fd00::ff)'],
    ],
    [
      'overlap behind a bad neighbour, with the path as written',
      [[{ subnet: 'x' }, { subnet: '10.1.0.0/24' }], [{ subnet: '10.1.0.0/25' }]],
      [
        'ranges[0][0].subnet: an address with a prefix length such as "10.1.0.0/16"',
        'ranges[1][0]: no address of ranges[0][1] (10.1.0.1-10.1.0.254)',
      ],
    ],
  ])('refuses %s', (_name, ranges, want) => {
    expect(problemsOf(() => decodeSets(ranges))).toEqual(want);
  });

  it('takes parts of one subnet that share no address', () => {
    const sets = decodeSets([
      [
        { subnet: '10.1.0.0/24', rangeEnd: '10.1.0.9' },
        { subnet: '10.1.0.0/24', rangeStart: '10.1.0.10', rangeEnd: '10.1.0.19' },
      ],
      [{ subnet: '10.1.0.0/24', rangeStart: '10.1.0.20' }],
    ]);
    expect(sets.map(formatRangeSet)).toEqual(['10.1.0.1-10.1.0.9,10.1.0.10-10.1.0.19', '10.1.0.20-10.1.0.254']);
    expect(sets.map(sizeOf)).toEqual([18n, 235n]);
  });

  it('checks 50,000 ranges in one pass', () => {
    const set = Array.from({ length: 50_000 }, (_, i) => ({ subnet: `10.${i >> 8}.${i & 255}.0/28` }));
    expect(problemsOf(() => decodeSets([set]))).toEqual([]);
  });
});

describe('candidates()', () => {
  const two = decodeSets([[{ subnet: '10.0.0.0/29' }, { subnet: '10.9.0.8/30', gateway: '10.0.0.3' }]])[0]!;
  const order = (set: RangeSet, last?: string): string[] =>
    [...candidates(set, last ? parseAddress(last) : undefined)].map((c) => formatAddress(c.address));

  it.each([
    [undefined, '10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.9.0.9 10.9.0.10'],
    ['10.0.0.4', '10.0.0.5 10.0.0.6 10.9.0.9 10.9.0.10 10.0.0.2 10.0.0.3 10.0.0.4'],
    ['10.0.0.6', '10.9.0.9 10.9.0.10 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6'],
    ['10.9.0.9', '10.9.0.10 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.9.0.9'],
    ['10.9.0.10', '10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.9.0.9 10.9.0.10'],
    ['10.0.0.1', '10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.9.0.9 10.9.0.10'],
    ['192.0.2.1', '10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.9.0.9 10.9.0.10'],
    ['fd00::1', '10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.9.0.9 10.9.0.10'],
  ])('after %s goes round once, without gateways', (last, want) => {
    expect(order(two, last).join(' ')).toBe(want);
  });

  it('leaves out a gateway at either end', () => {
    const [set] = decodeSets([[{ subnet: '10.0.0.0/29', gateway: '10.0.0.6' }]]);
    expect(order(set!, '10.0.0.5').join(' ')).toBe('10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5');
  });

  it('goes on inside a /64', () => {
    const [set] = decodeSets([[{ subnet: 'fd00::/64' }]]);
    const next = candidates(set!, parseAddress('fd00::ffff:ffff:ffff:ffff')).next().value!;
    expect(formatAddress(next.address)).toBe('fd00::2');
  });
});

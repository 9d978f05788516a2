import { describe, expect, it } from 'vitest';
import { formatAddress, parseAddress } from '../../src/net/address.ts';
import { Aggregate, aggregate } from '../../src/net/aggregate.ts';
import { linkLocalFrom } from '../../src/net/mac.ts';
import { formatPrefix, parsePrefix, spanOf } from '../../src/net/prefix.ts';
import { Dice } from '../support/dice.ts';

describe('parseAddress()', () => {
  it.each([
    ['10.1.2.3', '10.1.2.3'],
    ['::', '::'],
    ['::1', '::1'],
    ['FD00:0:0:1:0:0:0:5', 'fd00:0:0:1::5'],
    ['fd00::1:0:0:5', 'fd00::1:0:0:5'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['64:ff9b::10.0.0.1', '64:ff9b::a00:1'],
  ])('reads %s and prints %s', (text, canonical) => {
    expect(formatAddress(parseAddress(text)!)).toBe(canonical);
  });

  it.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '1.2.3.256',
    ' 1.2.3.4',
    '1.2.3.4\n',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    'fe80::1%eth0',
    '::1.2.3',
    '1.2.3.4::',
    'g::',
    '12345::',
    '1:2:3:4:5:6:7::8',
  ])('refuses %j', (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });
});

describe('aggregate()', () => {
  const cases: [string, string[], string[]][] = [
    ['joins neighbours upwards', ['10.0.0.0/24', '10.0.1.0/24', '10.0.2.0/23'], ['10.0.0.0/22']],
    ['drops what lies inside another', ['10.0.0.0/16', '10.0.5.0/24', '10.0.5.7/32'], ['10.0.0.0/16']],
    ['keeps neighbours that make no prefix', ['10.0.1.0/24', '10.0.2.0/24'], ['10.0.1.0/24', '10.0.2.0/24']],
    ['keeps families apart', ['fd00::/64', '10.0.0.0/8', 'fd00:0:0:1::/64'], ['10.0.0.0/8', 'fd00::/63']],
  ];
  it.each(cases)('%s', (_name, given, want) => {
    expect(aggregate(given.map((p) => spanOf(parsePrefix(p)!))).map(formatPrefix)).toEqual(want);
  });
});

describe('Aggregate', () => {
  /** Every address of the /24 that these cover, as a text of zeros and ones. */
  const covered = (prefixes: readonly string[]): string => {
    const spans = prefixes.map((p) => spanOf(parsePrefix(p)!));
    return Array.from({ length: 256 }, (_, i) => {
      const value = 0x0a000000n + BigInt(i);
      return spans.some((s) => s.first <= value && value < s.end) ? '1' : '0';
    }).join('');
  };
  /** The fewest prefixes, found by halving: a whole half is one, an empty one none. */
  const fewest = (map: string, at = 0): string[] => {
    if (!map.includes('1')) return [];
    if (!map.includes('0')) return [`10.0.0.${at}/${32 - Math.log2(map.length)}`];
    const half = map.length / 2;
    return [...fewest(map.slice(0, half), at), ...fewest(map.slice(half), at + half)];
  };

  it.each([1, 2, 3])('answers the fewest prefixes, whatever the list was before (seed %i)', (seed) => {
    const { chance } = new Dice(seed);
    const one = () => {
      const length = chance() < 0.1 ? 26 : 29 + Math.floor(chance() * 4);
      const size = 2 ** (32 - length);
      return { text: `10.0.0.${Math.floor((chance() * 256) / size) * size}/${length}` };
    };
    const all = new Aggregate((item: { text: string }) => [spanOf(parsePrefix(item.text)!)]);
    let items: { text: string }[] = [];
    for (let i = 0; i < 1000; i++) {
      items = items.filter(() => chance() < 0.9);
      for (let n = Math.floor(chance() * 5); n > 0; n--) items.splice(Math.floor(chance() * items.length), 0, one());
      const want = fewest(covered(items.map((item) => item.text)));
      expect(all.of(items)[4].map(formatPrefix)).toEqual(want);
    }
  });
});

describe('linkLocalFrom()', () => {
  it.each([
    ['02:00:00:00:00:01', 'fe80::ff:fe00:1'],
    ['be:ef:12:34:56:78', 'fe80::bcef:12ff:fe34:5678'],
  ])('makes %s %s', (mac, address) => {
    expect(formatAddress(linkLocalFrom(mac))).toBe(address);
  });
});

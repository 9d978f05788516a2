import { describe, expect, it } from 'vitest';
import { formatAddress, parseAddress } from '../../src/net/address.ts';
import { linkLocalFrom } from '../../src/net/mac.ts';
import { aggregate, formatPrefix, parsePrefix, spanOf } from '../../src/net/prefix.ts';

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

describe('linkLocalFrom()', () => {
  it.each([
    ['02:00:00:00:00:01', 'fe80::ff:fe00:1'],
    ['be:ef:12:34:56:78', 'fe80::bcef:12ff:fe34:5678'],
  ])('makes %s %s', (mac, address) => {
    expect(formatAddress(linkLocalFrom(mac))).toBe(address);
  });
});

/** An address with a prefix length, "10.1.2.3/24": an interface's address keeps its host bits, a network has none. */

import { type Address, bitsOf, equalAddress, type Family, formatAddress, parseAddress } from './address.ts';

export interface Prefix {
  readonly address: Address;
  readonly length: number;
}

/** The prefix a text stands for, host bits kept, or undefined. */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf('/');
  if (slash < 0) return undefined;
  const address = parseAddress(text.slice(0, slash));
  const lengthText = text.slice(slash + 1);
  if (!address || !/^(0|[1-9][0-9]{0,2})$/.test(lengthText)) return undefined;
  // "::ffff:10.0.0.1/120" is an IPv4 address with a length counted in IPv6 bits: nobody means it
  if (address.family === 4 && text.includes(':')) return undefined;
  const length = Number(lengthText);
  return length > bitsOf(address.family) ? undefined : { address, length };
}

export const formatPrefix = (p: Prefix): string => `${formatAddress(p.address)}/${p.length}`;

/** By length; big numbers are dear to compute, and 5,000 nodes ask for them with every change. */
const masks = (family: Family): readonly bigint[] =>
  Array.from({ length: bitsOf(family) + 1 }, (_, length) => (1n << BigInt(bitsOf(family) - length)) - 1n);
const hostMasks: Readonly<Record<Family, readonly bigint[]>> = { 4: masks(4), 6: masks(6) };

const hostBits = (p: Prefix): bigint => hostMasks[p.address.family][p.length]!;

/** The first address of the prefix, all host bits zero. */
export const networkAddress = (p: Prefix): Address => ({
  family: p.address.family,
  value: p.address.value & ~hostBits(p),
});

/** The last address of the prefix, all host bits one (IPv4's broadcast address). */
export const lastAddress = (p: Prefix): Address => ({ family: p.address.family, value: p.address.value | hostBits(p) });

/** The prefix without host bits: "10.1.2.3/24" → "10.1.2.0/24". */
export const networkOf = (p: Prefix): Prefix => (hasHostBits(p) ? { address: networkAddress(p), length: p.length } : p);

export const hasHostBits = (p: Prefix): boolean => (p.address.value & hostBits(p)) !== 0n;

export const contains = (p: Prefix, a: Address): boolean =>
  p.address.family === a.family && (a.value & ~hostBits(p)) === (p.address.value & ~hostBits(p));

export const equalPrefix = (a: Prefix, b: Prefix): boolean =>
  a.length === b.length && equalAddress(a.address, b.address);

/** One of two networks holds the other. */
export const overlaps = (a: Prefix, b: Prefix): boolean =>
  a.length <= b.length ? contains(a, networkAddress(b)) : contains(b, networkAddress(a));

/** An address as the prefix that holds it alone: /32 or /128. */
export const hostPrefix = (a: Address): Prefix => ({ address: a, length: bitsOf(a.family) });

/** 0.0.0.0/0 or ::/0. */
export const defaultPrefix = (family: Family): Prefix => ({ address: { family, value: 0n }, length: 0 });

export const isDefault = (p: Prefix): boolean => p.length === 0;

/** A prefix's addresses as numbers: the first, and the one behind the last. */
export interface Span {
  readonly family: Family;
  readonly first: bigint;
  readonly end: bigint;
}

export const spanOf = (p: Prefix): Span => ({
  family: p.address.family,
  first: networkAddress(p).value,
  end: lastAddress(p).value + 1n,
});

/** By comparison alone: thousands are asked, and to reckon with masks takes longer. */
export const shareAddresses = (a: Span, b: Span): boolean =>
  a.family === b.family && a.first < b.end && b.first < a.end;

/** The order in which spans of one family begin. */
export const byFirst = (a: Span, b: Span): number => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0);

/** The fewest prefixes that make up a range of addresses. */
export function prefixesOf(family: Family, first: bigint, last: bigint): Prefix[] {
  const out: Prefix[] = [];
  for (let value = first; value <= last; ) {
    const isWhole = (bits: bigint): boolean => (value & bits) === 0n && value + bits <= last;
    const length = hostMasks[family].findIndex(isWhole);
    out.push({ address: { family, value }, length });
    value += hostMasks[family][length]! + 1n;
  }
  return out;
}

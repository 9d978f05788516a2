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
  /** The two, rounded: where these differ they tell the order, and thousands of big numbers take ten times as long to compare. */
  readonly rounded: { readonly first: number; readonly end: number };
}

export function spanOf(p: Prefix): Span {
  const first = networkAddress(p).value;
  const end = lastAddress(p).value + 1n;
  return { family: p.address.family, first, end, rounded: { first: Number(first), end: Number(end) } };
}

/** `a` begins before `b` ends. */
const beginsBefore = (a: Span, b: Span): boolean =>
  a.rounded.first === b.rounded.end ? a.first < b.end : a.rounded.first < b.rounded.end;

export const shareAddresses = (a: Span, b: Span): boolean =>
  a.family === b.family && beginsBefore(a, b) && beginsBefore(b, a);

/** The order in which spans of one family begin. */
export const byFirst = (a: Span, b: Span): number =>
  a.rounded.first - b.rounded.first || (a.first < b.first ? -1 : a.first > b.first ? 1 : 0);

/**
 * The fewest prefixes that cover exactly the same addresses: what lies inside another goes, neighbours that make up one shorter
 * prefix become it. 5,000 podCIDRs carved in order from one range come out as a handful, which keeps sets in the kernel small.
 */
export function aggregate(spans: readonly Span[]): Prefix[] {
  const sorted = spans.toSorted((a, b) => a.family - b.family || byFirst(a, b));
  const out: Prefix[] = [];
  for (let i = 0; i < sorted.length; ) {
    const { family, first } = sorted[i]!;
    let end = first;
    // whatever begins inside or right behind what was found so far
    for (let next = sorted[i]; next && next.family === family && next.first <= end; next = sorted[++i]) {
      if (next.end > end) end = next.end;
    }
    out.push(...prefixesOf(family, first, end - 1n));
  }
  return out;
}

/** The fewest prefixes that make up a range of addresses. */
function prefixesOf(family: Family, first: bigint, last: bigint): Prefix[] {
  const out: Prefix[] = [];
  for (let value = first; value <= last; ) {
    const isWhole = (bits: bigint): boolean => (value & bits) === 0n && value + bits <= last;
    const length = hostMasks[family].findIndex(isWhole);
    out.push({ address: { family, value }, length });
    value += hostMasks[family][length]! + 1n;
  }
  return out;
}

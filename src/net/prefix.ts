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

const hostBits = (p: Prefix): bigint => (1n << BigInt(bitsOf(p.address.family) - p.length)) - 1n;

/** The first address of the prefix, all host bits zero. */
export const networkAddress = (p: Prefix): Address => ({
  family: p.address.family,
  value: p.address.value & ~hostBits(p),
});

/** The last address of the prefix, all host bits one (IPv4's broadcast address). */
export const lastAddress = (p: Prefix): Address => ({ family: p.address.family, value: p.address.value | hostBits(p) });

/** The prefix without host bits: "10.1.2.3/24" → "10.1.2.0/24". */
export const networkOf = (p: Prefix): Prefix => ({ address: networkAddress(p), length: p.length });

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

/**
 * The fewest prefixes that cover exactly the same addresses: what lies inside another goes, neighbours that make up one shorter
 * prefix become it. 5,000 podCIDRs carved in order from one range come out as a handful, which keeps sets in the kernel small.
 */
export function aggregate(prefixes: readonly Prefix[]): Prefix[] {
  const sorted = prefixes.map(networkOf).sort(comparePrefix);
  const out: Prefix[] = [];
  for (const next of sorted) {
    const last = out.at(-1);
    if (last && contains(last, next.address)) continue;
    out.push(next);
    mergeTail(out);
  }
  return out;
}

/** Joins the last two prefixes for as long as they are the two halves of a shorter one. */
function mergeTail(out: Prefix[]): void {
  for (;;) {
    const b = out.at(-1);
    const a = out.at(-2);
    if (!a || !b || a.length !== b.length || a.length === 0) return;
    const parent = networkOf({ address: a.address, length: a.length - 1 });
    if (!contains(parent, b.address) || parent.address.value !== a.address.value) return;
    out.splice(-2, 2, parent);
  }
}

/** By family, then address, then shorter first. */
export function comparePrefix(a: Prefix, b: Prefix): number {
  if (a.address.family !== b.address.family) return a.address.family - b.address.family;
  if (a.address.value !== b.address.value) return a.address.value < b.address.value ? -1 : 1;
  return a.length - b.length;
}

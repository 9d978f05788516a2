/**
 * Ranges of addresses to lease from, as host-local's configuration names them: a set is a list of ranges of one family, and an
 * attachment gets one address from every set.
 */

import { type Fields, show } from '../decode.ts';
import type { Problem } from '../errors.ts';
import { type Address, addressAfter, bitsOf, equalAddress, families, formatAddress } from './address.ts';
import { contains, formatPrefix, hasHostBits, lastAddress, networkOf, type Prefix } from './prefix.ts';

/** From `start` to `end`, both included. The gateway may lie inside and is then never leased from this range. */
export interface Range {
  subnet: Prefix;
  start: Address;
  end: Address;
  gateway: Address;
}

export type RangeSet = readonly Range[];

/** Ranges → where the configuration has them, for messages. */
export type Places = ReadonlyMap<Range, string>;

export const formatRange = (r: Range): string => `${formatAddress(r.start)}-${formatAddress(r.end)}`;

export const formatRangeSet = (set: RangeSet): string => set.map(formatRange).join(',');

export const inRange = (r: Range, a: Address): boolean =>
  a.family === r.start.family && a.value >= r.start.value && a.value <= r.end.value;

/** The range of the set that holds an address. */
export const rangeOf = (set: RangeSet, a: Address): Range | undefined => set.find((r) => inRange(r, a));

/** How many addresses a set can lease: gateways are not among them. */
export const sizeOf = (set: RangeSet): bigint =>
  set.reduce((sum, r) => sum + r.end.value - r.start.value + (inRange(r, r.gateway) ? 0n : 1n), 0n);

/** The subnet of a range; problems are noted. A network of two addresses or one has nothing to lease. */
function decodeSubnet(f: Fields): Prefix | undefined {
  const subnet = f.prefix('subnet');
  if (!subnet) return (f.raw('subnet') ?? '') === '' ? f.wrong('subnet', 'a network such as "10.1.0.0/16"') : undefined;
  const longest = bitsOf(subnet.address.family) - 2;
  if (subnet.length > longest) return f.wrong('subnet', `a network large enough to lease from, /${longest} or shorter`);
  if (hasHostBits(subnet)) return f.wrong('subnet', `"${formatPrefix(networkOf(subnet))}": no host bits may be set`);
  return subnet;
}

/**
 * Reads `subnet`, `rangeStart`, `rangeEnd` and `gateway`. Without them the range starts at the subnet's first address after its
 * own, ends before IPv4's broadcast address or at IPv6's last, and the gateway is the first. A gateway outside the subnet is the user's choice.
 */
export function decodeRange(f: Fields): Range | undefined {
  const subnet = decodeSubnet(f);
  const given = { start: f.address('rangeStart'), end: f.address('rangeEnd'), gateway: f.address('gateway') };
  if (!subnet) return undefined;
  const { family } = subnet.address;
  const first = addressAfter(subnet.address, 1n);
  const { start = first, end = addressAfter(lastAddress(subnet), family === 4 ? -1n : 0n), gateway = first } = given;
  const inside = `an address in ${formatPrefix(subnet)}`;
  if (!contains(subnet, start)) f.wrong('rangeStart', inside);
  else if (!contains(subnet, end)) f.wrong('rangeEnd', inside);
  else if (start.value > end.value && given.start) f.wrong('rangeStart', `${inside} up to ${formatAddress(end)}`);
  else if (start.value > end.value) f.wrong('rangeEnd', `${inside} from ${formatAddress(start)} on`);
  if (gateway.family !== family) f.wrong('gateway', `an IPv${family} address, as the subnet is one`);
  return { subnet, start, end, gateway };
}

/** Reads a list of range sets such as `ranges`; `places` learns where each range stands. */
export function decodeRangeSets(f: Fields, key: string, places: Map<Range, string>): RangeSet[] {
  const sets = f.objectLists(key, (item) => {
    const range = decodeRange(item);
    if (range) places.set(range, item.path);
    return range;
  });
  const raw = f.raw(key);
  for (const [i, set] of (Array.isArray(raw) ? raw : []).entries()) {
    if (Array.isArray(set) && set.length === 0) f.wrong(`${key}[${i}]`, 'at least one range', set);
  }
  return (sets ?? []).filter((set) => set.length > 0);
}

/** Pairs of ranges that share addresses, the earlier one first. One pass over sorted ranges: a configuration may be of any size. */
function overlapping(ranges: readonly Range[]): [Range, Range][] {
  const order = new Map(ranges.map((r, i) => [r, i]));
  const byStart = ranges.toSorted(
    (a, b) => a.start.family - b.start.family || (a.start.value < b.start.value ? -1 : 1),
  );
  const pairs: [Range, Range][] = [];
  let furthest: Range | undefined;
  for (const range of byStart) {
    if (furthest && inRange(furthest, range.start)) {
      pairs.push(order.get(furthest)! < order.get(range)! ? [furthest, range] : [range, furthest]);
    }
    if (furthest?.start.family !== range.start.family || furthest.end.value < range.end.value) furthest = range;
  }
  return pairs;
}

/** What is wrong between ranges: two families in one set, and addresses that two ranges share, in one set or in two. */
export function checkRangeSets(sets: readonly RangeSet[], places: Places): Problem[] {
  const problems: Problem[] = [];
  for (const set of sets) {
    const { family } = set[0]!.start;
    for (const range of set.filter((r) => r.start.family !== family)) {
      const want = `an IPv${family} network like the first of its set: a set has one family`;
      problems.push({ path: `${places.get(range)}.subnet`, got: show(formatPrefix(range.subnet)), want });
    }
  }
  for (const [first, second] of overlapping(sets.flat())) {
    const want = `no address of ${places.get(first)} (${formatRange(first)})`;
    problems.push({ path: places.get(second) ?? '', got: show(formatRange(second)), want });
  }
  return problems;
}

/**
 * A node's podCIDRs as sets to lease from, one per family. A podCIDR's network address is the node's own on the overlay, the first
 * one after it the bridge's (kept free with `attach: ptp` too, so that a node can change its way of attaching).
 */
export function podCidrSets(podCIDRs: readonly Prefix[]): RangeSet[] {
  return families.flatMap((family) => {
    const set = podCIDRs
      .filter((p) => p.address.family === family)
      .map((subnet) => ({
        subnet,
        start: addressAfter(subnet.address, 2n),
        end: addressAfter(lastAddress(subnet), family === 4 ? -1n : 0n),
        gateway: addressAfter(subnet.address, 1n),
      }))
      .filter((r) => r.start.value <= r.end.value);
    return set.length > 0 ? [set] : [];
  });
}

/**
 * The addresses of a set in the order they are tried: round robin, from the one after the last that was leased, or from the
 * start when that one is unknown or no longer in the set. Each once, gateways left out.
 */
export function* candidates(set: RangeSet, last?: Address): Generator<{ address: Address; range: Range }> {
  const found = last ? set.findIndex((r) => inRange(r, last)) : -1;
  const from = Math.max(found, 0);
  for (let i = 0; i <= set.length; i++) {
    const range = set[(from + i) % set.length]!;
    let value = range.start.value;
    let end = range.end.value;
    if (i === 0 && found >= 0) value = last!.value + 1n;
    else if (i === set.length) end = found >= 0 ? last!.value : value - 1n;
    for (; value <= end; value++) {
      const address = { family: range.start.family, value };
      if (!equalAddress(address, range.gateway)) yield { address, range };
    }
  }
}

/**
 * Traffic of an attachment held to a rate (`bandwidth`), as objects of tc on the host's end of its veth pair.
 *
 *   to the container (ingress)    host ── tbf at the root of vethX ──► container
 *   from it (egress)              container ──► vethX, clsact ingress: u32 ─ redirect ─ bwpX, tbf at its root ──► host
 *
 * Nothing of it lies in the container's namespace: who may change links there cannot take it away. tbf holds packets back where
 * a policer drops them, and counts whole frames. With subnets, ingress goes the same way as egress, by clsact egress and an ifb
 * of its own: the filters let unshaped packets pass, or redirect shaped ones only.
 */

import { type Address, bitsOf, type Family, families } from '../net/address.ts';
import type { Prefix } from '../net/prefix.ts';
import type { LinkState } from './host.ts';

/** To the container, and from it. */
export type Direction = 'ingress' | 'egress';
export const directions: readonly Direction[] = ['ingress', 'egress'];

export interface Rate {
  bitsPerSecond: number;
  /** Undefined: none asked for. */
  burstBits: number | undefined;
}

export interface Bandwidth extends Readonly<Partial<Record<Direction, Rate>>> {
  /** Far addresses that alone are shaped; none: all are. */
  readonly shaped: readonly Prefix[];
  /** Far addresses that are not. */
  readonly unshaped: readonly Prefix[];
}

/** The links an attachment's traffic is shaped on. */
export interface ShapedLinks {
  /** The host's end of the pair. */
  readonly host: string;
  /** The ifb of each direction, where it needs one. */
  readonly ifb: Readonly<Record<Direction, string>>;
  /** Of the ifbs. */
  readonly mac: string;
  readonly label: string;
  readonly mtu?: number | undefined;
}

/** A token bucket at the root of a link. */
export interface Tbf {
  readonly kind: 'tbf';
  readonly dev: string;
  /** Bytes per second. */
  readonly rate: number;
  /** Bytes that may go at once after a pause. */
  readonly burst: number;
  /** Bytes that may wait. */
  readonly limit: number;
}

/** Where filters can look at a link's packets. */
export interface Clsact {
  readonly kind: 'clsact';
  readonly dev: string;
}

export interface Filter {
  readonly kind: 'filter';
  readonly dev: string;
  /** Packets that come in by the link, or leave by it. */
  readonly hook: Direction;
  readonly protocol: 'ip' | 'ipv6' | 'all';
  /** Words of the packet's header, "0a010000/ffff0000 at 12" as tc prints them; all must match. */
  readonly match: readonly string[];
  /** The ifb that takes matching packets; without one they pass. */
  readonly redirect?: string;
}

export type TcObject = Tbf | Clsact | Filter;

/** What container runtimes hand over when nobody named a burst: the greatest number of 31 or 32 bits. */
const unlimited: readonly number[] = [2 ** 31 - 1, 2 ** 32 - 1];

/** A smaller bucket is empty before TCP has answered, and leaves part of the rate unused: as much as flows while TCP waits to send again. */
const leastBurstSeconds = 0.2;
/** What waits when the bucket is empty: 25 ms more, as the reference plugin has it, and half a packet of TCP segmentation offload. */
const queueSeconds = 0.125;
const leastQueueBytes = 32_768;
const ethernetHeader = 14;
/** tbf keeps the bucket's depth as a 32-bit count of 64 ns: of what does not fit it would take the remainder. */
const deepestSeconds = 250;
const maxUint32 = 2 ** 32 - 1;

function planTbf(dev: string, { bitsPerSecond, burstBits }: Rate, mtu = 1500): Tbf {
  const rate = Math.max(1, Math.floor(bitsPerSecond / 8));
  const asked = burstBits === undefined || unlimited.includes(burstBits) ? 0 : burstBits / 8;
  // a frame that is larger than the bucket would never leave
  const least = Math.max(rate * leastBurstSeconds, 2 * (mtu + ethernetHeader));
  const burst = Math.min(Math.max(asked, least), Math.max(rate * deepestSeconds, least), maxUint32);
  const limit = Math.min(Math.max(rate * queueSeconds, leastQueueBytes), maxUint32);
  return { kind: 'tbf', dev, rate, burst: Math.round(burst), limit: Math.round(limit) };
}

/** Offset of the far address in the IP header: of packets to the container the source, of others the destination. */
const offsets: Record<Direction, Record<Family, number>> = { ingress: { 4: 12, 6: 8 }, egress: { 4: 16, 6: 24 } };

const hex = (word: bigint): string => word.toString(16).padStart(8, '0');
const wordOf = (a: Address, i: number): bigint => (a.value >> BigInt(bitsOf(a.family) - 32 * (i + 1))) & 0xffffffffn;

/** The prefix as words of the header; the first one always, so that a prefix of length 0 matches by its protocol alone. */
function matchOf({ address, length }: Prefix, direction: Direction): string[] {
  const count = Math.max(1, Math.ceil(length / 32));
  return Array.from({ length: count }, (_, i) => {
    const bits = Math.min(32, Math.max(0, length - 32 * i));
    const mask = (0xffffffffn << BigInt(32 - bits)) & 0xffffffffn;
    return `${hex(wordOf(address, i) & mask)}/${hex(mask)} at ${offsets[direction][address.family] + 4 * i}`;
  });
}

const everything = ['00000000/00000000 at 0'];

/** What comes from the container comes in by the host's end. */
const hookOf: Record<Direction, Direction> = { ingress: 'egress', egress: 'ingress' };

function planFilters(dev: string, ifb: string, direction: Direction, { shaped, unshaped }: Bandwidth): Filter[] {
  const base = { kind: 'filter', dev, hook: hookOf[direction] } as const;
  const redirect = shaped.length > 0 ? { redirect: ifb } : {};
  const subnets = families.flatMap((family) =>
    [...shaped, ...unshaped]
      .filter((p) => p.address.family === family)
      .map((p): Filter => {
        return { ...base, protocol: family === 4 ? 'ip' : 'ipv6', match: matchOf(p, direction), ...redirect };
      }),
  );
  return shaped.length > 0 ? subnets : [...subnets, { ...base, protocol: 'all', match: everything, redirect: ifb }];
}

/** Whether a direction's packets go by an ifb: egress can be held nowhere else, and only filters can tell subnets apart. */
const isRedirected = (direction: Direction, { shaped, unshaped }: Bandwidth): boolean =>
  direction === 'egress' || shaped.length + unshaped.length > 0;

export const isShaped = (bandwidth: Bandwidth): boolean => directions.some((d) => bandwidth[d] !== undefined);

/** The ifbs, and what tc puts on them and on the host's end, in the order in which it can be made. */
export function planBandwidth(bandwidth: Bandwidth, on: ShapedLinks): { links: LinkState[]; objects: TcObject[] } {
  const links: LinkState[] = [];
  const objects: TcObject[] = [];
  const filters: Filter[] = [];
  for (const direction of directions) {
    const rate = bandwidth[direction];
    if (!rate) continue;
    const ifb = on.ifb[direction];
    if (!isRedirected(direction, bandwidth)) {
      objects.push(planTbf(on.host, rate, on.mtu));
      continue;
    }
    const mtu = on.mtu ? { mtu: on.mtu } : {};
    // nobody speaks on it: no link-local address, no neighbour discovery
    const quiet = { addrGenMode: 'none', up: true } as const;
    links.push({ name: ifb, make: { kind: 'ifb' }, address: on.mac, alias: on.label, ...quiet, ...mtu });
    objects.push(planTbf(ifb, rate, on.mtu));
    filters.push(...planFilters(on.host, ifb, direction, bandwidth));
  }
  if (filters.length > 0) objects.push({ kind: 'clsact', dev: on.host }, ...filters);
  return { links, objects };
}

/** By protocol: one of u32's lists of filters holds one protocol, and the one that takes the rest comes last. */
const preferences: Record<Filter['protocol'], number> = { ip: 1, ipv6: 2, all: 3 };

function renderFilter({ dev, hook, protocol, match, redirect }: Filter): string {
  const keys = match.map((key) => `match u32 0x${key.replace('/', ' 0x')}`).join(' ');
  const verdict = redirect ? `action mirred egress redirect dev ${redirect}` : 'flowid 1:1';
  return `filter add dev ${dev} ${hook} protocol ${protocol} prio ${preferences[protocol]} u32 ${keys} ${verdict}`;
}

/** The line for `tc -batch` that makes an object. */
export function renderTc(object: TcObject): string {
  switch (object.kind) {
    case 'tbf':
      return `qdisc replace dev ${object.dev} root handle 1: tbf rate ${object.rate}bps burst ${object.burst} limit ${object.limit}`;
    case 'clsact':
      return `qdisc replace dev ${object.dev} clsact`;
    case 'filter':
      return renderFilter(object);
    default:
      return object satisfies never;
  }
}

/** Ethernet addresses: checked, printed in lower case, and derived from names so that every side can compute them. */

import { createHash } from 'node:crypto';
import { formatAddress, parseAddress } from './address.ts';

const text = /^[0-9a-fA-F]{2}([:-])(?:[0-9a-fA-F]{2}\1){4}[0-9a-fA-F]{2}$/;

/** The address in the kernel's spelling, or undefined when it is none that a link can carry (not six octets, a group address, zero). */
export function parseMac(value: string): string | undefined {
  if (!text.test(value)) return undefined;
  const mac = value.toLowerCase().replaceAll('-', ':');
  const first = Number.parseInt(mac.slice(0, 2), 16);
  return first & 1 || mac === '00:00:00:00:00:00' ? undefined : mac;
}

/** A locally administered unicast address made from a seed: the same seed gives the same address on every machine. */
export function macFrom(seed: string): string {
  const octets = createHash('sha256').update(seed).digest().subarray(0, 6);
  octets[0] = (octets[0]! & 0xfc) | 0x02;
  return [...octets].map((o) => o.toString(16).padStart(2, '0')).join(':');
}

/** The IPv6 link-local address that an interface with this MAC address has (modified EUI-64, RFC 4291 appendix A). */
export function linkLocalOf(mac: string): string {
  const octets = mac.split(':').map((o) => Number.parseInt(o, 16));
  const [a, b, c, d, e, f] = octets as [number, number, number, number, number, number];
  const groups = [((a ^ 0x02) << 8) | b, (c << 8) | 0xff, 0xfe00 | d, (e << 8) | f];
  return formatAddress(parseAddress(`fe80::${groups.map((g) => g.toString(16)).join(':')}`)!);
}

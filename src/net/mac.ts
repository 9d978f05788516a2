/** Ethernet addresses: checked, printed in lower case, and derived from names so that every side can compute them. */

import type { Address } from './address.ts';
import { sha256 } from './sha256.ts';

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
  const octets = Buffer.from(sha256(seed).slice(0, 12), 'hex');
  octets[0] = (octets[0]! & 0xfc) | 0x02;
  return [...octets].map((o) => o.toString(16).padStart(2, '0')).join(':');
}

/** The IPv6 link-local address that belongs to an Ethernet address (RFC 4291 appendix A: modified EUI-64). */
export function linkLocalFrom(mac: string): Address {
  const octets = mac.split(':').map((o) => Number.parseInt(o, 16));
  const id = [octets[0]! ^ 0x02, ...octets.slice(1, 3), 0xff, 0xfe, ...octets.slice(3)];
  return { family: 6, value: id.reduce((value, o) => (value << 8n) | BigInt(o), 0n) | (0xfe80n << 112n) };
}

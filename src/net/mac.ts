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

/**
 * A locally administered unicast address made from a seed: the same seed gives the same address on every machine. Who makes thousands
 * brings a faster SHA-256, Node's own.
 */
export function macFrom(seed: string, hash: (seed: string) => string = sha256): string {
  const octets = hash(seed).slice(0, 12);
  const first = (Number.parseInt(octets.slice(0, 2), 16) & 0xfc) | 0x02;
  return `${first.toString(16).padStart(2, '0')}${octets.slice(2)}`.replaceAll(/..(?=.)/g, '$&:');
}

/** The IPv6 link-local address that belongs to an Ethernet address (RFC 4291 appendix A: modified EUI-64). */
export function linkLocalFrom(mac: string): Address {
  const octets = mac.replaceAll(':', '');
  const id = BigInt(`0x${octets.slice(0, 6)}fffe${octets.slice(6)}`) ^ (0x02n << 56n);
  return { family: 6, value: id | (0xfe80n << 112n) };
}

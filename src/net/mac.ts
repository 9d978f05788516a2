/** Ethernet addresses: checked, printed in lower case, and derived from names so that every side can compute them. */

import { createHash } from 'node:crypto';

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

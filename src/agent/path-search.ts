/** Finds the longest packet that gets through: the full length where that passes, what a router says, else by dividing what is left. */

import type { Family } from '../net/address.ts';

/** Whether one of a few packets of so many bytes, IP header included, gets there; `said` is what the kernel or a router calls the MTU. */
export type Ping = (bytes: number) => Promise<{ passed: boolean; said?: number }>;

/** What every IPv6 link carries, and what every IPv4 host takes in (RFC 8200, RFC 791). */
const floorBytes: Readonly<Record<Family, number>> = { 4: 576, 6: 1280 };

/** Sizes that are tried at a time: each that does not get through is waited for, a second long. */
const breadth = 4;

/** Sizes between one that passes and one that does not, ascending. */
function sizesBetween(passes: number, fails: number): number[] {
  const step = (fails - passes) / (breadth + 1);
  const sizes = Array.from({ length: breadth }, (_, i) => Math.round(passes + (i + 1) * step));
  return [...new Set(sizes)].filter((size) => size > passes && size < fails);
}

/** Bytes, at most `most`; undefined when nothing gets through. */
export async function findPathMtu(family: Family, most: number, ping: Ping): Promise<number | undefined> {
  let [passes, fails] = [Math.min(floorBytes[family], most), most];
  for (let bytes = most; ; ) {
    const { passed, said } = await ping(bytes);
    if (passed) return bytes;
    fails = bytes;
    if (said === undefined || said >= bytes || said < passes) break;
    bytes = said;
  }
  if (!(await ping(passes)).passed) return undefined;
  // those that did not come back may just have been lost
  if ((await ping(fails)).passed) return fails;
  while (fails - passes > 1) {
    const sizes = sizesBetween(passes, fails);
    const answers = await Promise.all(sizes.map((bytes) => ping(bytes)));
    const first = answers.findIndex((a) => !a.passed);
    passes = (first < 0 ? sizes.at(-1) : sizes[first - 1]) ?? passes;
    fails = sizes[first] ?? fails;
  }
  return passes;
}

/** getifaddrs(3): addresses and MACs of the links that are up and running in our own namespace, without starting a program. */

import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';

export interface RunningLink {
  mac: string;
  /** With prefix lengths: "10.1.0.1/16". */
  addresses: string[];
}

/** A link as getifaddrs knows it; undefined when it has no address, is down, has no carrier, or is not there. */
export function runningLink(name: string): RunningLink | undefined {
  const entries = networkInterfaces()[name];
  if (!entries?.[0]) return undefined;
  return { mac: entries[0].mac, addresses: entries.flatMap((e) => (e.cidr ? [e.cidr] : [])) };
}

/** The links of our own namespace: the list of them is read without waiting for anybody. */
export const linkNames = (): string[] =>
  readFileSync('/proc/self/net/dev', 'utf8')
    .split('\n')
    .flatMap((line) => /^\s*([^\s:]+):/.exec(line)?.[1] ?? []);

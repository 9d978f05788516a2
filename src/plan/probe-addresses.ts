/**
 * Addresses by which overlays are probed: one per node, overlay and family, so that a question and its answer both go through that
 * overlay and no other, whatever carries pods meanwhile. Nobody hands them out: every side computes them from the nodes' names.
 * They are seen inside of tunnels only. IPv4: of 240.0.0.0/4, which is nobody's (RFC 1112, section 4); IPv6: unique local (RFC 4193).
 */

import { type Family, formatAddress } from '../net/address.ts';
import { hash } from '../net/name.ts';
import type { ClusterNode, WayMode } from './cluster.ts';
import type { ProbeOf } from './overlay.ts';

type Probed = Exclude<WayMode, 'routed'>;

const blocks: Readonly<Record<Probed, Readonly<Record<Family, bigint>>>> = {
  ipip: { 4: 241n << 24n, 6: 0xfdc7_1c5a_77e1_0001n << 64n },
  vxlan: { 4: 242n << 24n, 6: 0xfdc7_1c5a_77e1_0002n << 64n },
  wireguard: { 4: 243n << 24n, 6: 0xfdc7_1c5a_77e1_0003n << 64n },
};

const mask24 = 0xff_ffff;

/** What was hashed before: a cluster is planned many times. */
const hashes = new WeakMap<ClusterNode, string>();

function hashOf(node: ClusterNode): string {
  const known = hashes.get(node);
  if (known !== undefined) return known;
  const made = hash(`probe\0${node.name}`, 22);
  hashes.set(node, made);
  return made;
}

/** 24 bits are few: of two names with the same number, the later one in the alphabet takes the next that is free. */
function numbersOf(nodes: readonly ClusterNode[]): Map<string, number> {
  const wanted = nodes.map((node) => ({ name: node.name, number: Number.parseInt(hashOf(node).slice(0, 6), 16) }));
  const taken = new Map<number, string>();
  const numbers = new Map<string, number>();
  for (let { name, number } of wanted.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    while (taken.has(number)) number = (number + 1) & mask24;
    taken.set(number, name);
    numbers.set(name, number);
  }
  return numbers;
}

/** The addresses of all these nodes for one overlay. */
export function probeAddresses(nodes: readonly ClusterNode[]): (way: Probed) => ProbeOf {
  const numbers = numbersOf(nodes);
  return (way) => (node, family) => {
    const host = family === 4 ? BigInt(numbers.get(node.name)!) : BigInt(`0x${hashOf(node).slice(6)}`);
    return formatAddress({ family, value: blocks[way][family] | host });
  };
}

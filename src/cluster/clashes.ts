/** What two nodes of a cluster cannot both have: names, addresses, keys, podCIDRs that overlap, node addresses inside a podCIDR. */

import type { Problem } from '../errors.ts';
import { type Family, families } from '../net/address.ts';
import { firstWhere } from '../net/search.ts';
import { addressOf, type ClusterNode, type PodCidr, podCidrsOf } from '../plan/cluster.ts';

/** A problem of two nodes, or of one with itself. */
export interface Clash extends Problem {
  readonly between: readonly [ClusterNode, ClusterNode];
}

/** Nodes that claim the same thing: `keys` names it, `what` says what it is. */
function duplicates(
  nodes: readonly ClusterNode[],
  what: string,
  keys: (node: ClusterNode) => readonly string[],
  want: string,
): Clash[] {
  const owners = new Map<string, number>();
  const clashes: Clash[] = [];
  for (const [i, node] of nodes.entries()) {
    for (const key of keys(node)) {
      const first = owners.get(key);
      if (first === undefined) {
        owners.set(key, i);
        continue;
      }
      const other = nodes[first]!;
      const got = `"${node.name}" with ${what} ${key}, as nodes[${first}] "${other.name}"`;
      clashes.push({ path: `nodes[${i}]`, got, want, between: [other, node] });
    }
  }
  return clashes;
}

interface Owned {
  pods: PodCidr;
  node: ClusterNode;
}

const startOf = (o: Owned): bigint => o.pods.prefix.address.value;

/** The podCIDRs of one family in the order of their addresses, the wider of two first. */
const sortedOf = (nodes: readonly ClusterNode[], family: Family): Owned[] =>
  nodes
    .flatMap((node) => podCidrsOf(node, family).map((pods) => ({ pods, node })))
    .sort((a, b) =>
      startOf(a) === startOf(b) ? a.pods.prefix.length - b.pods.prefix.length : startOf(a) < startOf(b) ? -1 : 1,
    );

/** podCIDRs that share addresses: an overlap is always with the last one that was not inside another. */
function overlapping(sorted: readonly Owned[]): Clash[] {
  const clashes: Clash[] = [];
  let outer: Owned | undefined;
  for (const next of sorted) {
    if (outer && startOf(next) < outer.pods.span.end) {
      clashes.push({
        path: 'nodes',
        got: `podCIDR ${next.pods.text} of "${next.node.name}" overlaps ${outer.pods.text} of "${outer.node.name}"`,
        want: 'podCIDRs that share no address',
        between: [outer.node, next.node],
      });
    } else {
      outer = next;
    }
  }
  return clashes;
}

/** The podCIDR that holds an address: none but the last that does not begin after it. */
function holder(sorted: readonly Owned[], value: bigint): Owned | undefined {
  const found = sorted[firstWhere(sorted.length, (i) => startOf(sorted[i]!) > value) - 1];
  return found && value < found.pods.span.end ? found : undefined;
}

/** Node addresses that would be reached as pods. */
function swallowed(nodes: readonly ClusterNode[], sorted: readonly Owned[], family: Family): Clash[] {
  return nodes.flatMap((node) => {
    const own = addressOf(node, family);
    const by = own && holder(sorted, own.address.value);
    if (!by) return [];
    const got = `address ${own.text} of "${node.name}" lies in podCIDR ${by.pods.text} of "${by.node.name}"`;
    return [{ path: 'nodes', got, want: 'node addresses outside all podCIDRs', between: [by.node, node] as const }];
  });
}

/** All of them; none in a right cluster. */
export function clashesOf(nodes: readonly ClusterNode[]): Clash[] {
  const names = duplicates(nodes, 'name', (n) => [n.name], 'a name only once');
  const macs = duplicates(
    nodes,
    'VTEP MAC',
    (n) => [n.mac],
    'names that make different MAC addresses; rename one node',
  );
  return [
    ...(names.length > 0 ? names : macs),
    ...duplicates(nodes, 'address', (n) => n.addresses.map((a) => a.text), 'an address only once'),
    ...duplicates(nodes, 'publicKey', (n) => (n.publicKey ? [n.publicKey] : []), 'a key of its own for each node'),
    ...families.flatMap((family) => {
      const sorted = sortedOf(nodes, family);
      return [...overlapping(sorted), ...swallowed(nodes, sorted, family)];
    }),
  ];
}

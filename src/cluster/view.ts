/** A document's `nodes` → the cluster view. All or nothing: every wrong field and every clash between nodes is named. */

import { z } from 'zod';
import { isObject, show } from '../decode.ts';
import { ConfigError, type Problem } from '../errors.ts';
import { type Address, isGlobalUnicast, parseAddress } from '../net/address.ts';
import { macFrom } from '../net/mac.ts';
import { comparePrefix, contains, hasHostBits, lastAddress, type Prefix, parsePrefix } from '../net/prefix.ts';
import { type ClusterNode, type ClusterView, nodeAddress, podCidr } from '../plan/cluster.ts';
import { check, unknownKeys } from './document.ts';

const wantName = 'a node name: letters, digits, "-", "." and "_", at most 253';
const wantAddress = 'a unicast address such as "192.168.1.11" or "fd00:1::11", without a prefix length';
const wantPrefix =
  'a network such as "10.244.1.0/24" or "fd00:244:1::/64", bits after the prefix zero, room for four addresses or more';

const isNodeAddress = (text: string): boolean => {
  const address = parseAddress(text);
  return address !== undefined && isGlobalUnicast(address);
};

function isPodCidr(text: string): boolean {
  const prefix = parsePrefix(text);
  if (!prefix || prefix.length === 0 || hasHostBits(prefix)) return false;
  return prefix.length <= (prefix.address.family === 4 ? 30 : 126);
}

const atMostOnePerFamily = (texts: readonly string[]): boolean => {
  const families = texts.map((t) => parseAddress(t)?.family);
  return new Set(families).size === families.length;
};

const nodeSchema = z.object({
  name: z.string(wantName).regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}$/, wantName),
  addresses: z
    .array(z.string(wantAddress).refine(isNodeAddress, wantAddress), 'a list of addresses')
    .min(1, 'at least one address')
    .refine(atMostOnePerFamily, 'at most one IPv4 and one IPv6 address'),
  podCIDRs: z
    .array(z.string(wantPrefix).refine(isPodCidr, wantPrefix), 'a list of networks')
    .min(1, 'at least one network'),
});

function decodeNode(value: unknown, path: string): ClusterNode {
  const { name, addresses, podCIDRs } = check(nodeSchema, value, path);
  return {
    name,
    mac: macFrom(`vtep\0${name}`),
    addresses: addresses.map((a) => nodeAddress(parseAddress(a)!)),
    podCIDRs: podCIDRs.map((p) => podCidr(parsePrefix(p)!)),
  };
}

/** Nodes that claim the same thing. */
function duplicates(nodes: readonly ClusterNode[], keys: (node: ClusterNode) => string[], want: string): Problem[] {
  const owners = new Map<string, number>();
  const problems: Problem[] = [];
  for (const [i, node] of nodes.entries()) {
    for (const key of keys(node)) {
      const first = owners.get(key);
      if (first === undefined) owners.set(key, i);
      else
        problems.push({
          path: `nodes[${i}]`,
          got: `"${node.name}" with ${key}, as nodes[${first}] "${nodes[first]!.name}"`,
          want,
        });
    }
  }
  return problems;
}

interface Owned {
  prefix: Prefix;
  text: string;
  node: ClusterNode;
}

/** podCIDRs that share addresses: sorted, an overlap is always between neighbours. */
function overlapping(sorted: readonly Owned[]): Problem[] {
  const problems: Problem[] = [];
  let widest: Owned | undefined;
  for (const next of sorted) {
    if (widest && contains(widest.prefix, next.prefix.address)) {
      problems.push({
        path: 'nodes',
        got: `podCIDR ${next.text} of "${next.node.name}" overlaps ${widest.text} of "${widest.node.name}"`,
        want: 'podCIDRs that share no address',
      });
    } else {
      widest = next;
    }
  }
  return problems;
}

/** The last of the sorted prefixes that does not begin after the address: the only one that can hold it. */
function holder(sorted: readonly Owned[], address: Address): Owned | undefined {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    const at = sorted[mid]!.prefix.address;
    const after = at.family !== address.family ? at.family > address.family : at.value > address.value;
    if (after) high = mid;
    else low = mid + 1;
  }
  const found = sorted[low - 1];
  return found && found.prefix.address.family === address.family && address.value <= lastAddress(found.prefix).value
    ? found
    : undefined;
}

function swallowed(nodes: readonly ClusterNode[], sorted: readonly Owned[]): Problem[] {
  return nodes.flatMap((node) =>
    node.addresses.flatMap(({ address, text }) => {
      const pods = holder(sorted, address);
      if (!pods) return [];
      const got = `address ${text} of "${node.name}" lies in podCIDR ${pods.text} of "${pods.node.name}"`;
      return [{ path: 'nodes', got, want: 'node addresses outside all podCIDRs' }];
    }),
  );
}

function clashes(nodes: readonly ClusterNode[]): Problem[] {
  const sorted = nodes
    .flatMap((node) => node.podCIDRs.map((p) => ({ prefix: p.prefix, text: p.text, node })))
    .sort((a, b) => comparePrefix(a.prefix, b.prefix));
  const names = duplicates(nodes, (n) => [`name "${n.name}"`], 'a name only once');
  const macs = duplicates(
    nodes,
    (n) => [`VTEP MAC ${n.mac}`],
    'names that make different MAC addresses; rename one node',
  );
  return [
    ...(names.length > 0 ? names : macs),
    ...duplicates(nodes, (n) => n.addresses.map((a) => `address ${a.text}`), 'an address only once'),
    ...overlapping(sorted),
    ...swallowed(nodes, sorted),
  ];
}

/** Decodes documents one after another; a node whose entry has not changed is not decoded again (5,000 cost 100 ms). */
export class ViewDecoder {
  #known = new Map<string, ClusterNode>();

  /** Throws ConfigError. `notes` takes remarks on unknown keys. */
  decode(value: unknown, notes: string[] = []): ClusterView {
    const list = isObject(value) ? value['nodes'] : undefined;
    if (!isObject(value) || !Array.isArray(list)) {
      throw new ConfigError([
        { path: 'nodes', got: show(list ?? value), want: 'a list of nodes, each with name, addresses and podCIDRs' },
      ]);
    }
    const next = new Map<string, ClusterNode>();
    const problems: Problem[] = [];
    const nodes: ClusterNode[] = [];
    for (const [i, item] of list.entries()) {
      const text = JSON.stringify(item) ?? '';
      const known = this.#known.get(text) ?? this.#decodeNew(item, i, problems, notes);
      if (!known) continue;
      next.set(text, known);
      nodes.push(known);
    }
    for (const key of Object.keys(value))
      if (key !== 'nodes') notes.push(`${key}: unknown key, ignored; known is nodes`);
    if (problems.length === 0) problems.push(...clashes(nodes));
    if (problems.length > 0) throw new ConfigError(problems);
    this.#known = next;
    return { nodes };
  }

  #decodeNew(item: unknown, i: number, problems: Problem[], notes: string[]): ClusterNode | undefined {
    try {
      const node = decodeNode(item, `nodes[${i}]`);
      notes.push(...unknownKeys(nodeSchema, item, `nodes[${i}]`));
      return node;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(...error.problems);
      return undefined;
    }
  }
}

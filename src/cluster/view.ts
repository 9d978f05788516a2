/** A document's `nodes` and `traffic` → the cluster view. All or nothing: every wrong field and every clash between nodes is named. */

import { z } from 'zod';
import { isObject, show } from '../decode.ts';
import { ConfigError, type Problem } from '../errors.ts';
import { type Family, families, formatAddress, isGlobalUnicast, parseAddress } from '../net/address.ts';
import { linkLocalFrom, macFrom } from '../net/mac.ts';
import { hasHostBits, parsePrefix } from '../net/prefix.ts';
import {
  addressOf,
  type ClusterNode,
  type ClusterTraffic,
  type ClusterView,
  nodeAddress,
  type PodCidr,
  podCidr,
  podCidrsOf,
} from '../plan/cluster.ts';
import { check, unknownKeys } from './document.ts';
import { autonomousSystem, betweenSites, mode } from './schema.ts';

const wantName = 'a node name: letters, digits, "-", "." and "_", at most 253';
const wantAddress = 'a unicast address such as "192.168.1.11" or "fd00:1::11", without a prefix length';
const wantPrefix =
  'a network such as "10.244.1.0/24" or "fd00:244:1::/64", bits after the prefix zero, room for four addresses or more';

const wantKey = 'a WireGuard public key as "culvert keys" prints it: 44 characters of base64';
const wantSite = 'a name: letters, digits, "-", "." and "_", at most 63';

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

const nodeSchema = z.object(
  {
    name: z.string(wantName).regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}$/, wantName),
    addresses: z
      .array(z.string(wantAddress).refine(isNodeAddress, wantAddress), 'a list of addresses')
      .min(1, 'at least one address')
      .refine(atMostOnePerFamily, 'at most one IPv4 and one IPv6 address'),
    podCIDRs: z
      .array(z.string(wantPrefix).refine(isPodCidr, wantPrefix), 'a list of networks')
      .min(1, 'at least one network'),
    publicKey: z
      .string(wantKey)
      .regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/, wantKey)
      .optional(),
    site: z
      .string(wantSite)
      .regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/, wantSite)
      .optional(),
    as: autonomousSystem.optional(),
    routeReflector: z.boolean('true or false').optional(),
  },
  'an object with name, addresses and podCIDRs',
);

const traffic = {
  mode,
  betweenSites,
  sameSubnet: z.enum(['tunnel', 'direct'], '"tunnel" or "direct"').default('tunnel'),
};
const wantTraffic = 'an object with mode, betweenSites and sameSubnet';
const trafficSchema = z.object(
  { ...traffic, alsoAccept: z.object(traffic, wantTraffic).optional() },
  `${wantTraffic}, and alsoAccept during a change`,
);

/** A document's `traffic`, if it has one; what is wrong with it is added to `problems`. */
function decodeTraffic(value: unknown, problems: Problem[], notes: string[]): ClusterTraffic | undefined {
  if (value === undefined) return undefined;
  try {
    const traffic = check(trafficSchema, value, 'traffic');
    notes.push(...unknownKeys(trafficSchema, value, 'traffic'));
    return traffic;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems);
    return undefined;
  }
}

const knownKeys = ['traffic', 'nodes'];

function decodeNode(value: unknown, path: string): ClusterNode {
  const { name, addresses, podCIDRs, publicKey, site, as, routeReflector } = check(nodeSchema, value, path);
  const mac = macFrom(`vtep\0${name}`);
  return {
    name,
    mac,
    linkLocal: formatAddress(linkLocalFrom(mac)),
    addresses: addresses.map((a) => nodeAddress(parseAddress(a)!)),
    podCIDRs: podCIDRs.map((p) => podCidr(parsePrefix(p)!)),
    ...(publicKey !== undefined && { publicKey }),
    ...(site !== undefined && { site }),
    ...(as !== undefined && { as }),
    ...(routeReflector !== undefined && { routeReflector }),
  };
}

/** Nodes that claim the same thing: `keys` names it, `what` says what it is. */
function duplicates(
  nodes: readonly ClusterNode[],
  what: string,
  keys: (node: ClusterNode) => readonly string[],
  want: string,
): Problem[] {
  const owners = new Map<string, number>();
  const problems: Problem[] = [];
  for (const [i, node] of nodes.entries()) {
    for (const key of keys(node)) {
      const first = owners.get(key);
      if (first === undefined) {
        owners.set(key, i);
        continue;
      }
      const got = `"${node.name}" with ${what} ${key}, as nodes[${first}] "${nodes[first]!.name}"`;
      problems.push({ path: `nodes[${i}]`, got, want });
    }
  }
  return problems;
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
function overlapping(sorted: readonly Owned[]): Problem[] {
  const problems: Problem[] = [];
  let outer: Owned | undefined;
  for (const next of sorted) {
    if (outer && startOf(next) <= outer.pods.last) {
      problems.push({
        path: 'nodes',
        got: `podCIDR ${next.pods.text} of "${next.node.name}" overlaps ${outer.pods.text} of "${outer.node.name}"`,
        want: 'podCIDRs that share no address',
      });
    } else {
      outer = next;
    }
  }
  return problems;
}

/** The podCIDR that holds an address: none but the last that does not begin after it. */
function holder(sorted: readonly Owned[], value: bigint): Owned | undefined {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (startOf(sorted[mid]!) > value) high = mid;
    else low = mid + 1;
  }
  const found = sorted[low - 1];
  return found && value <= found.pods.last ? found : undefined;
}

/** Node addresses that would be reached as pods. */
function swallowed(nodes: readonly ClusterNode[], sorted: readonly Owned[], family: Family): Problem[] {
  return nodes.flatMap((node) => {
    const own = addressOf(node, family);
    const by = own && holder(sorted, own.address.value);
    if (!by) return [];
    const got = `address ${own.text} of "${node.name}" lies in podCIDR ${by.pods.text} of "${by.node.name}"`;
    return [{ path: 'nodes', got, want: 'node addresses outside all podCIDRs' }];
  });
}

function clashes(nodes: readonly ClusterNode[]): Problem[] {
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

/** Decodes documents one after another; a node whose entry has not changed is not decoded again (5,000 cost 100 ms). */
export class ViewDecoder {
  /** By the entry itself (a file read entry by entry hands out the same again) and by its text (a file parsed whole does not). */
  readonly #byObject = new WeakMap<object, ClusterNode>();
  #byText = new Map<string, ClusterNode>();

  /** Throws ConfigError. `notes` takes remarks on unknown keys. */
  decode(value: unknown, notes: string[] = []): ClusterView {
    const list = isObject(value) ? value['nodes'] : undefined;
    if (!isObject(value) || !Array.isArray(list)) {
      throw new ConfigError([
        { path: 'nodes', got: show(list ?? value), want: 'a list of nodes, each with name, addresses and podCIDRs' },
      ]);
    }
    const texts = new Map<string, ClusterNode>();
    const problems: Problem[] = [];
    const nodes: ClusterNode[] = [];
    for (const [i, item] of list.entries()) {
      let node = isObject(item) ? this.#byObject.get(item) : undefined;
      if (!node) {
        const text = JSON.stringify(item) ?? '';
        node = this.#byText.get(text) ?? this.#decodeNew(item, i, problems, notes);
        if (!node) continue;
        texts.set(text, node);
        this.#byObject.set(item, node);
      }
      nodes.push(node);
    }
    for (const key of Object.keys(value))
      if (!knownKeys.includes(key)) notes.push(`${key}: unknown key, ignored; known are ${knownKeys.join(' and ')}`);
    const traffic = decodeTraffic(value['traffic'], problems, notes);
    if (problems.length === 0) problems.push(...clashes(nodes));
    if (problems.length > 0) throw new ConfigError(problems);
    this.#byText = texts;
    return { nodes, ...(traffic && { traffic }) };
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

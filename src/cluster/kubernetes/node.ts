/** A Node object → the entry that a cluster file would have of it. Pure; what is wrong with an entry the file's decoder says. */

import { parseAddress } from '../../net/address.ts';
import type { KubeObject } from './follow.ts';

/** Annotations of Nodes, each a key of the cluster file. The agent writes `publicKey` itself; the others are for people. */
export const annotations = {
  addresses: 'culvert/addresses',
  publicKey: 'culvert/public-key',
  site: 'culvert/site',
  as: 'culvert/as',
  routeReflector: 'culvert/route-reflector',
} as const;

/** What is looked at of a Node; the rest of it is dropped as it arrives. */
export interface NodeObject extends KubeObject {
  readonly metadata: KubeObject['metadata'] & {
    readonly creationTimestamp?: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: { readonly podCIDR?: string; readonly podCIDRs?: readonly string[] };
  readonly status?: { readonly addresses?: readonly { readonly type: string; readonly address: string }[] };
}

/** An entry of `nodes` as a cluster file has it, unchecked. */
export interface Entry {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly podCIDRs: readonly string[];
  readonly publicKey?: string;
  readonly site?: string;
  readonly as?: number | string;
  readonly routeReflector?: boolean | string;
}

export interface FoundNode {
  readonly entry: Entry;
  /** When the object was made, as the API server writes it: such texts sort by time. */
  readonly created: string;
}

/** One address per family: the first InternalIP, else the first ExternalIP. */
function addressesOf(node: NodeObject): string[] {
  const stated = node.metadata.annotations?.[annotations.addresses];
  if (stated !== undefined) return stated.split(',').map((text) => text.trim());
  const byFamily = new Map<number, string>();
  for (const wanted of ['InternalIP', 'ExternalIP']) {
    for (const { type, address } of node.status?.addresses ?? []) {
      const family = type === wanted ? parseAddress(address)?.family : undefined;
      if (family !== undefined && !byFamily.has(family)) byFamily.set(family, address);
    }
  }
  return [...byFamily.values()];
}

/** Text that means a number or a truth as such; any other stays what it is, for the decoder to name. */
const plain = (text: string): number | boolean | string =>
  /^\d{1,10}$/.test(text) ? Number(text) : text === 'true' || text === 'false' ? text === 'true' : text;

export function readNode(node: NodeObject): FoundNode {
  const { name, creationTimestamp = '', annotations: all = {} } = node.metadata;
  const { podCIDR, podCIDRs = podCIDR ? [podCIDR] : [] } = node.spec ?? {};
  const more = Object.entries(annotations).flatMap(([key, annotation]) => {
    const text = all[annotation];
    if (text === undefined || key === 'addresses') return [];
    return [[key, key === 'as' || key === 'routeReflector' ? plain(text) : text]];
  });
  return {
    entry: { name, addresses: addressesOf(node), podCIDRs, ...Object.fromEntries(more) },
    created: creationTimestamp,
  };
}

/** With this key, and otherwise as it is read once the Node says the same: to the byte. */
export function withPublicKey(node: FoundNode, publicKey: string): FoundNode {
  const { name, addresses, podCIDRs, publicKey: _, ...more } = node.entry;
  return { ...node, entry: { name, addresses, podCIDRs, publicKey, ...more } };
}

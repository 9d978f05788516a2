/** The cluster as the planners see it: nodes with their addresses and podCIDRs. Each value carries its text: printed once, used by every plan. */

import { type Address, type Family, formatAddress } from '../net/address.ts';
import { formatPrefix, hostPrefix, networkAddress, networkOf, type Prefix, type Span, spanOf } from '../net/prefix.ts';

export interface NodeAddress {
  readonly address: Address;
  readonly text: string;
  /** Of the prefix that holds it alone. */
  readonly span: Span;
}

export interface PodCidr {
  readonly prefix: Prefix;
  readonly text: string;
  /** Its network address, which the node's VTEP carries. */
  readonly first: string;
  /** Overlaps are looked for among thousands, and thousands are put together. */
  readonly span: Span;
}

export interface ClusterNode {
  readonly name: string;
  /** The MAC address of its VTEP, made from its name so that every node can compute it. */
  readonly mac: string;
  /** Its VTEP's IPv6 address on the overlay link, made from the MAC address (EUI-64). */
  readonly linkLocal: string;
  /** Its WireGuard key, for modes that need one. */
  readonly publicKey?: string;
  /** Where it stands; nodes without one are of one site. */
  readonly site?: string;
  /** Its autonomous system in mode bgp, where it is not that of all. */
  readonly as?: number;
  /** Passes the routes of all nodes on, in mode bgp. */
  readonly routeReflector?: boolean;
  /** At most one per family. */
  readonly addresses: readonly NodeAddress[];
  /** At least one. */
  readonly podCIDRs: readonly PodCidr[];
}

/** How pod traffic reaches another node. */
export const modes = ['vxlan', 'ipip', 'wireguard', 'routed', 'bgp'] as const;
export type Mode = (typeof modes)[number];

/** What can be asked for: a mode, or `auto`: for each node the first of these that passes. */
export const trafficModes = [...modes, 'auto'] as const;

/** What `auto` chooses among, cheapest first: nothing added to a packet; 20 bytes; 50 bytes, in UDP; 60 bytes and encryption (IPv4). */
export const wayModes = ['routed', 'ipip', 'vxlan', 'wireguard'] as const;
export type WayMode = (typeof wayModes)[number];

/** Modes that can be had for some nodes only: BGP's sessions are between all nodes of a site. */
export const modesBetweenSites = ['vxlan', 'ipip', 'wireguard', 'routed'] as const;

/** Which way pods' packets take: what a change of mode changes. */
export interface Traffic {
  readonly mode: Mode | 'auto';
  /** The mode between nodes of different sites; absent: the same as within one. */
  readonly betweenSites?: (typeof modesBetweenSites)[number] | undefined;
  readonly sameSubnet: 'tunnel' | 'direct';
}

/** What a cluster decides for all of its nodes. Two traffics at once are a change on its way (change.ts). */
export interface ClusterTraffic extends Traffic {
  /** No packet is sent this way, but whoever does is understood. */
  readonly alsoAccept?: Traffic | undefined;
}

export interface ClusterView {
  readonly nodes: readonly ClusterNode[];
  /** How pods' packets travel; absent: each node's own settings say. */
  readonly traffic?: ClusterTraffic;
  /** A hash of the text that it was read from. */
  readonly digest?: string;
}

export const nodeAddress = (address: Address): NodeAddress => ({
  address,
  text: formatAddress(address),
  span: spanOf(hostPrefix(address)),
});

export const podCidr = (prefix: Prefix): PodCidr => ({
  prefix: networkOf(prefix),
  text: formatPrefix(networkOf(prefix)),
  first: formatAddress(networkAddress(prefix)),
  span: spanOf(prefix),
});

export const addressOf = (node: ClusterNode, family: Family): NodeAddress | undefined =>
  node.addresses.find((a) => a.address.family === family);

export const podCidrsOf = (node: ClusterNode, family: Family): PodCidr[] =>
  node.podCIDRs.filter((p) => p.prefix.address.family === family);

/** What stands in the way of a part of the plan; the rest of it stands. */
export interface PlanProblem {
  /** The node that cannot be reached, where it is about one. */
  readonly node?: string;
  readonly text: string;
  /** It is about traffic that is only accepted so far (`alsoAccept`): nothing is lost yet. */
  readonly alsoAccept?: true;
}

/** Nothing can be planned: the message says why and what to do. */
export class PlanError extends Error {
  override readonly name = 'PlanError';
}

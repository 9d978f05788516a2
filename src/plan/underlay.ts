/** The network below the pods: which of our interfaces leads to which node, straight over a link or through a router. */

import { type Address, type Family, families } from '../net/address.ts';
import { overlaps, type Prefix, parsePrefix, type Span, spanOf } from '../net/prefix.ts';
import { type ClusterNode, PlanError } from './cluster.ts';
import type { AddressState, LinkState, RouteState } from './host.ts';

/** What was read about this host that is not ours to change. */
export interface HostFacts {
  readonly links: readonly LinkState[];
  readonly addresses: readonly AddressState[];
  /** The main table without routes of ours. */
  readonly routes: readonly RouteState[];
  /** The kernel has IPv6. */
  readonly hasIpv6: boolean;
  /** Interfaces whose routes come from router advertisements that the kernel itself accepts. */
  readonly advertised: readonly string[];
  /** Interfaces that take a packet only when its answer would leave by them (rp_filter 1, of their own or of all). */
  readonly strict: readonly string[];
  /** The kernel has nft flowtables; looked at only where one is wanted. */
  readonly hasFlowtable?: boolean;
  /** What was measured: how long packets may be that get to an address as they are. */
  readonly pathMtus?: ReadonlyMap<string, number> | undefined;
  /** Devices of ours that are, or are not, to leave checksums to those below; the others stay as they are. */
  readonly txChecksums?: ReadonlyMap<string, boolean> | undefined;
  /** There is an ethtool to do that with; looked at only where `txChecksums` says something. */
  readonly hasEthtool?: boolean;
}

/** How an address is reached. */
export interface Way {
  readonly dev: string;
  /** The router; absent: the address is on the link. */
  readonly via?: string;
  readonly mtuBytes: number;
}

export interface Underlay {
  /** Our own address of the family and its interface. */
  readonly own: ReadonlyMap<Family, Way & { readonly address: string }>;
  wayTo(address: Address): Way | undefined;
}

/** 5,000 nodes are looked up in here. */
interface Hop {
  prefix: Prefix;
  span: Span;
  way: Way;
}

/** The most specific first; of equals, the one the kernel prefers. */
function hopsOf(facts: HostFacts, own: ClusterNode, mtus: ReadonlyMap<string, number>): Hop[] {
  // the kernel's own route to the link, which may have an MTU, goes before what the address says
  const connected = facts.addresses.map((a) => ({
    prefix: parsePrefix(a.address),
    route: { prefix: '', dev: a.dev, metric: Number.POSITIVE_INFINITY } as RouteState,
  }));
  const routed = facts.routes
    .filter((r) => r.table === undefined)
    .map((route) => ({ prefix: parsePrefix(route.prefix), route }));
  return [...connected, ...routed]
    .flatMap(({ prefix, route }) => {
      // routes to our own pods lead to no node, and there may be hundreds
      if (
        !prefix ||
        !route.dev ||
        own.podCIDRs.some((p) => p.prefix.length <= prefix.length && overlaps(p.prefix, prefix))
      )
        return [];
      const mtuBytes = Math.min(mtus.get(route.dev) ?? 1500, route.mtuBytes ?? Number.POSITIVE_INFINITY);
      const way = { dev: route.dev, ...(route.via && { via: route.via }), mtuBytes };
      return [{ prefix, span: spanOf(prefix), way, metric: route.metric ?? 0 }];
    })
    .sort((a, b) => b.prefix.length - a.prefix.length || a.metric - b.metric);
}

/** That of the last plan: what was planned over an underlay holds for as long as it is the same object. */
let last: { readonly own: ClusterNode; readonly text: string; readonly underlay: Underlay } | undefined;

const textOf = (value: unknown): string =>
  JSON.stringify(value, (_key, inner) => (typeof inner === 'bigint' ? `${inner}` : inner));

/** The same underlay again while node, interfaces and routes have not changed. Throws PlanError when an address of ours is on no interface. */
export function readUnderlay(facts: HostFacts, own: ClusterNode): Underlay {
  const mtus = new Map(facts.links.map((l) => [l.name, l.mtu ?? 1500]));
  const all = hopsOf(facts, own, mtus);
  const ours = own.addresses.map(({ address, text }) => {
    const found = facts.addresses.find((a) => a.address.startsWith(`${text}/`));
    if (!found) {
      throw new PlanError(
        `no interface of this host has ${text}, the address of node "${own.name}" in the cluster file; put it on an interface, or correct the file`,
      );
    }
    return [address.family, { address: text, dev: found.dev, mtuBytes: mtus.get(found.dev) ?? 1500 }] as const;
  });
  const text = textOf([ours, all]);
  if (last?.own === own && last.text === text) return last.underlay;
  const hops = new Map(families.map((family) => [family, [] as Hop[]]));
  for (const hop of all) hops.get(hop.prefix.address.family)!.push(hop);
  const underlay: Underlay = {
    own: new Map(ours),
    wayTo: ({ family, value }) => hops.get(family)!.find(({ span }) => span.first <= value && value < span.end)?.way,
  };
  last = { own, text, underlay };
  return underlay;
}

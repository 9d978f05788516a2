/**
 * What one traffic's paths are made of, node by node: routes, what wraps their packets, how long those may be, and which nodes'
 * addresses may see pods' own.
 */

import { MappedList } from '../mapped-list.ts';
import { type Family, families, familyOf } from '../net/address.ts';
import { addressOf, type ClusterNode, type Mode, type NodeAddress, type PlanProblem, type Traffic } from './cluster.ts';
import type { NamespaceState, RouteState } from './host.ts';
import { type Overlay, type ProbeOf, podFamiliesOf, type Tunnel } from './overlay.ts';
import { addPath, type Path, type Reach, targetOf, unlimited } from './path-mtu.ts';
import { planRoutes, routedWay, sharedLink } from './routed.ts';
import type { NodeSettings, OverlayMode } from './settings.ts';
import type { HostFacts, Underlay, Way } from './underlay.ts';

export interface PathContext {
  readonly own: ClusterNode;
  readonly others: readonly ClusterNode[];
  readonly underlay: Underlay;
  readonly settings: NodeSettings;
  readonly facts: HostFacts;
}

/** Traffic whose mode is known. */
type KnownTraffic = Traffic & { readonly mode: Mode };

/** The mode that leads from one node to another. */
export const modeBetween = (
  own: ClusterNode,
  node: ClusterNode,
  { mode, betweenSites }: Omit<KnownTraffic, 'sameSubnet'>,
): Mode => (own.site === node.site ? mode : (betweenSites ?? mode));

/** Families of pods that both sides have. */
const podFamilies = (own: ClusterNode, node: ClusterNode): readonly Family[] => {
  const [ours, its] = [podFamiliesOf(own), podFamiliesOf(node)];
  return ours === its ? its : ours.filter((f) => its.includes(f));
};

/**
 * The paths of one traffic: of the one that carries, or of one that is only accepted. Of the latter only what takes packets in
 * counts, and its routes lead to nothing but the addresses that are probed.
 */
export interface Share {
  readonly traffic: KnownTraffic;
  readonly carries: boolean;
  readonly routes: RouteState[];
  /** What BIRD has brought of it: the kernel has that already. */
  readonly learnt: RouteState[];
  readonly problems: PlanProblem[];
  readonly unmasked: Set<NodeAddress>;
  readonly reach: Reach;
}

const shareOf = (traffic: KnownTraffic, carries: boolean): Share => ({
  traffic,
  carries,
  routes: [],
  learnt: [],
  problems: [],
  unmasked: new Set(),
  reach: unlimited(),
});

/** What a traffic's mode may come to; of `auto` each candidate, which wraps wherever it can: plain routes are one of their own. */
export function sharesOf(traffic: Traffic, carries: boolean, { auto }: NodeSettings): Share[] {
  const { mode } = traffic;
  if (mode !== 'auto') return [shareOf({ ...traffic, mode }, carries)];
  return auto.candidates.map((way) => shareOf({ ...traffic, mode: way, sameSubnet: 'tunnel' }, false));
}

/** What leads to one node, as part of a share. */
interface Crossing {
  readonly routes: RouteState[];
  readonly paths: Path[];
  readonly problems: PlanProblem[];
  /** The node's addresses that may see pods' own. */
  readonly unmasked: NodeAddress[];
}

const emptyCrossing = (): Crossing => ({ routes: [], paths: [], problems: [], unmasked: [] });

function add(share: Share, facts: HostFacts, { routes, paths, problems, unmasked }: Crossing): void {
  share.routes.push(...routes);
  share.problems.push(...problems);
  for (const path of paths) addPath(share.reach, facts, path);
  for (const a of unmasked) share.unmasked.add(a);
}

function routePlainly(crossing: Crossing, node: ClusterNode, family: Family, way: Way): void {
  const routes = planRoutes(node, family, way);
  crossing.routes.push(...routes);
  crossing.paths.push({ target: targetOf(node, addressOf(node, family)!, way), overheadBytes: 0, routes });
}

export function addRouted(share: Share, { own, underlay, settings, facts }: PathContext, node: ClusterNode): void {
  const crossing = emptyCrossing();
  for (const family of podFamilies(own, node)) {
    const way = routedWay(underlay, node, family, settings.behindRouter);
    if ('text' in way) {
      crossing.problems.push(way);
      continue;
    }
    routePlainly(crossing, node, family, way);
    // a node that has routes to our pods can answer them
    crossing.unmasked.push(addressOf(node, family)!);
  }
  add(share, facts, crossing);
}

/** What wrapping leaves of the way to a node. */
function addWraps(crossing: Crossing, underlay: Underlay, node: ClusterNode, { wraps, routes }: Tunnel): void {
  for (const { family, overheadBytes } of wraps) {
    const to = addressOf(node, family)!;
    const way = underlay.wayTo(to.address);
    if (way) crossing.paths.push({ target: targetOf(node, to, way), overheadBytes, routes });
    else crossing.problems.push({ node: node.name, text: `no route of this host leads to node "${node.name}"` });
  }
}

/** Nodes by one overlay. */
export interface Crossings {
  readonly mode: OverlayMode;
  readonly overlay: Overlay;
  readonly probeOf: ProbeOf | undefined;
  readonly nodes: readonly ClusterNode[];
  readonly shares: readonly Share[];
  /** Whether a share takes it to a node. */
  readonly leads: (share: Share, node: ClusterNode) => boolean;
}

/** To one node: one tunnel, and for each share that takes it what it adds to that. */
interface Passage {
  readonly crossings: readonly (Crossing | undefined)[];
  /** What the tunnel needs. */
  readonly entries: readonly Partial<NamespaceState>[];
  /** The addresses that it is probed by. */
  readonly probed: string;
}

function planPassage(work: Crossings, { own, underlay }: PathContext, node: ClusterNode): Passage {
  const { overlay, shares, leads } = work;
  const links = families.filter((f) => sharedLink(underlay, node, f));
  const pods = podFamilies(own, node);
  const isDirect = ({ traffic }: Share, f: Family) => traffic.sameSubnet === 'direct' && links.includes(f);
  const tunnelled = pods.filter((f) => shares.some((share) => leads(share, node) && !isDirect(share, f)));
  const tunnel = tunnelled.length > 0 ? overlay.tunnel(node, tunnelled) : undefined;
  function cross(share: Share): Crossing {
    const crossing = emptyCrossing();
    const direct = pods.filter((f) => isDirect(share, f));
    for (const f of direct) routePlainly(crossing, node, f, sharedLink(underlay, node, f)!);
    if (tunnel && direct.length < pods.length) {
      crossing.routes.push(...tunnel.routes.filter((r) => !direct.includes(familyOf(r.prefix))));
      crossing.problems.push(...tunnel.problems);
      addWraps(crossing, underlay, node, tunnel);
    }
    // A pod's packet to a node's own address takes no tunnel. Over a shared link it may keep the pod's address, if the node's answer
    // finds back. A router in between would see an address that it does not know, and may drop it: masquerade there.
    const seeing = overlay.answersPods ? links : direct;
    crossing.unmasked.push(...node.addresses.filter((a) => seeing.includes(a.address.family)));
    return crossing;
  }
  return {
    crossings: shares.map((share) => (leads(share, node) ? cross(share) : undefined)),
    entries: tunnel ? [tunnel.entries] : [],
    probed: probedAt(work, own, node),
  };
}

const probedAt = ({ probeOf }: Crossings, own: ClusterNode, node: ClusterNode): string =>
  probeOf
    ? podFamilies(own, node)
        .map((family) => probeOf(node, family))
        .join(' ')
    : '';

/** The passages planned last, and what they rest on beside the nodes. */
const planned: Partial<
  Record<OverlayMode, { underlay: Underlay; key: string; passages: MappedList<ClusterNode, Passage> }>
> = {};

function passagesOf(work: Crossings, context: PathContext): readonly Passage[] {
  const { mode, overlay, probeOf, nodes, shares } = work;
  const { own, underlay } = context;
  const key = JSON.stringify([overlay.key, shares.map((s) => s.traffic)]);
  let known = planned[mode];
  if (known?.underlay !== underlay || known.key !== key) {
    known = { underlay, key, passages: new MappedList() };
    planned[mode] = known;
  }
  // the addresses that nodes are probed by depend on who else there is
  const holds = probeOf && (({ probed }: Passage, node: ClusterNode) => probed === probedAt(work, own, node));
  return known.passages.map(nodes, (node) => planPassage(work, context, node), holds);
}

/** Adds nodes by one overlay to the shares that take it. Answers what their tunnels need. */
export function addOverlay(work: Crossings, context: PathContext): Partial<NamespaceState>[] {
  const entries: Partial<NamespaceState>[] = [];
  for (const passage of passagesOf(work, context)) {
    for (const [i, crossing] of passage.crossings.entries()) {
      if (crossing) add(work.shares[i]!, context.facts, crossing);
    }
    entries.push(...passage.entries);
  }
  return entries;
}

/**
 * What one traffic's paths are made of, node by node: routes, what wraps their packets, how long those may be, and which nodes'
 * addresses may see pods' own.
 */

import { type Family, families, familyOf } from '../net/address.ts';
import { addressOf, type ClusterNode, type Mode, type NodeAddress, type PlanProblem, type Traffic } from './cluster.ts';
import type { NamespaceState, RouteState } from './host.ts';
import { type Overlay, podFamiliesOf, type Tunnel } from './overlay.ts';
import { addPath, type Reach, unlimited } from './path-mtu.ts';
import { planRoutes, routedWay, sharedLink } from './routed.ts';
import type { NodeSettings } from './settings.ts';
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
const podFamilies = (own: ClusterNode, node: ClusterNode): Family[] => {
  const its = podFamiliesOf(node);
  return podFamiliesOf(own).filter((f) => its.includes(f));
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

function routePlainly(share: Share, facts: HostFacts, node: ClusterNode, family: Family, way: Way): void {
  const routes = planRoutes(node, family, way);
  share.routes.push(...routes);
  addPath(share.reach, facts, { node, to: addressOf(node, family)!, way, overheadBytes: 0, routes });
}

export function addRouted(share: Share, { own, underlay, settings, facts }: PathContext, node: ClusterNode): void {
  for (const family of podFamilies(own, node)) {
    const way = routedWay(underlay, node, family, settings.behindRouter);
    if ('text' in way) {
      share.problems.push(way);
      continue;
    }
    routePlainly(share, facts, node, family, way);
    // a node that has routes to our pods can answer them
    share.unmasked.add(addressOf(node, family)!);
  }
}

/** What wrapping leaves of the way to a node. */
function limitByWraps(share: Share, { underlay, facts }: PathContext, node: ClusterNode, tunnel: Tunnel): void {
  for (const { family, overheadBytes } of tunnel.wraps) {
    const to = addressOf(node, family)!;
    const way = underlay.wayTo(to.address);
    if (way) addPath(share.reach, facts, { node, to, way, overheadBytes, routes: tunnel.routes });
    else share.problems.push({ node: node.name, text: `no route of this host leads to node "${node.name}"` });
  }
}

/** One node by one overlay: for each share that takes it routes of its own, and one tunnel for all. Answers the tunnel's entries. */
export function addOverlay(
  shares: readonly Share[],
  context: PathContext,
  overlay: Overlay,
  node: ClusterNode,
): Partial<NamespaceState>[] {
  const { own, underlay, facts } = context;
  const links = families.filter((f) => sharedLink(underlay, node, f));
  const pods = podFamilies(own, node);
  const isDirect = ({ traffic }: Share, f: Family) => traffic.sameSubnet === 'direct' && links.includes(f);
  const tunnelled = pods.filter((f) => shares.some((share) => !isDirect(share, f)));
  const tunnel = tunnelled.length > 0 ? overlay.tunnel(node, tunnelled) : undefined;
  for (const share of shares) {
    const direct = pods.filter((f) => isDirect(share, f));
    for (const f of direct) routePlainly(share, facts, node, f, sharedLink(underlay, node, f)!);
    if (tunnel && direct.length < pods.length) {
      share.routes.push(...tunnel.routes.filter((r) => !direct.includes(familyOf(r.prefix))));
      share.problems.push(...tunnel.problems);
      limitByWraps(share, context, node, tunnel);
    }
    // A pod's packet to a node's own address takes no tunnel. Over a shared link it may keep the pod's address, if the node's answer
    // finds back. A router in between would see an address that it does not know, and may drop it: masquerade there.
    const seeing = overlay.answersPods ? links : direct;
    for (const a of node.addresses) if (seeing.includes(a.address.family)) share.unmasked.add(a);
  }
  return tunnel ? [tunnel.entries] : [];
}

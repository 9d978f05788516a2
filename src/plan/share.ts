/**
 * What one traffic's paths are made of, node by node: routes, what wraps their packets, how long those may be, and which nodes'
 * addresses may see pods' own.
 */

import type { Family } from '../net/address.ts';
import { addressOf, type ClusterNode, type Mode, type NodeAddress, type PlanProblem, type Traffic } from './cluster.ts';
import type { RouteState } from './host.ts';
import { podFamiliesOf } from './overlay.ts';
import { addPath, type Path, type Reach, targetOf, unlimited } from './path-mtu.ts';
import { planRoutes, routedWay } from './routed.ts';
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
export const podFamilies = (own: ClusterNode, node: ClusterNode): readonly Family[] => {
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
  readonly unmasked: NodeAddress[];
  readonly reach: Reach;
}

const shareOf = (traffic: KnownTraffic, carries: boolean): Share => ({
  traffic,
  carries,
  routes: [],
  learnt: [],
  problems: [],
  unmasked: [],
  reach: unlimited(),
});

/** What a traffic's mode may come to; of `auto` each candidate, which wraps wherever it can: plain routes are one of their own. */
export function sharesOf(traffic: Traffic, carries: boolean, { auto }: NodeSettings): Share[] {
  const { mode } = traffic;
  if (mode !== 'auto') return [shareOf({ ...traffic, mode }, carries)];
  return auto.candidates.map((way) => shareOf({ ...traffic, mode: way, sameSubnet: 'tunnel' }, false));
}

/** What leads to one node, as part of a share. */
export interface Crossing {
  readonly routes: RouteState[];
  readonly paths: Path[];
  readonly problems: PlanProblem[];
  /** The node's addresses that may see pods' own. */
  readonly unmasked: NodeAddress[];
}

export const emptyCrossing = (): Crossing => ({ routes: [], paths: [], problems: [], unmasked: [] });

export function addCrossing(share: Share, facts: HostFacts, { routes, paths, problems, unmasked }: Crossing): void {
  for (const route of routes) share.routes.push(route);
  for (const problem of problems) share.problems.push(problem);
  for (const path of paths) addPath(share.reach, facts, path);
  for (const a of unmasked) share.unmasked.push(a);
}

export function routePlainly(crossing: Crossing, node: ClusterNode, family: Family, way: Way): void {
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
  addCrossing(share, facts, crossing);
}

/**
 * Plain routes: a node's podCIDRs by way of the node's own address. Nothing is wrapped and nothing is lost of the MTU, but
 * every router in between would have to know the podCIDRs; on a shared link there is none.
 */

import type { Family } from '../net/address.ts';
import { addressOf, type ClusterNode, type PlanProblem, podCidrsOf } from './cluster.ts';
import { type RouteState, routeProtocol } from './host.ts';
import type { BehindRouter } from './settings.ts';
import type { Underlay, Way } from './underlay.ts';

/** The way to a node's address when both sides are on one link. */
export function sharedLink(underlay: Underlay, node: ClusterNode, family: Family): Way | undefined {
  const address = addressOf(node, family);
  const way = address && underlay.wayTo(address.address);
  return way && way.via === undefined && underlay.own.has(family) ? way : undefined;
}

/** Routes to the podCIDRs of one family through a node's address or a router. */
export function planRoutes(node: ClusterNode, family: Family, way: Way): RouteState[] {
  const via = way.via ?? addressOf(node, family)!.text;
  return podCidrsOf(node, family).map((p) => ({ prefix: p.text, via, dev: way.dev, protocol: routeProtocol }));
}

/** The way that plain routes to a node take, or why there is none. */
export function routedWay(
  underlay: Underlay,
  node: ClusterNode,
  family: Family,
  behindRouter: BehindRouter,
): Way | PlanProblem {
  const address = addressOf(node, family);
  const its = `its IPv${family} podCIDRs`;
  if (!address) {
    return {
      node: node.name,
      text: `node "${node.name}" has no IPv${family} address to route ${its} to; give it one, or use mode vxlan`,
    };
  }
  const way = underlay.wayTo(address.address);
  if (!way) return { node: node.name, text: `no route of this host leads to node "${node.name}" at ${address.text}` };
  if (way.via === undefined || behindRouter === 'gateway') return way;
  return {
    node: node.name,
    text: `node "${node.name}" at ${address.text} is behind the router ${way.via}, which does not know ${its}; use mode vxlan, or teach the router and set behindRouter: gateway`,
  };
}

/**
 * How long packets may be. What this host itself says of its ways (links, routes) bounds all pods and all devices. What was measured
 * beyond its own links narrows only the routes to that node (`mtu 1350`): a running pod hears of it from this host, as "fragmentation
 * needed", and its traffic to others stays as it was. Pods to come are given what the widest path carries.
 */

import type { Family } from '../net/address.ts';
import type { ClusterNode, NodeAddress, PlanProblem } from './cluster.ts';
import type { RouteState } from './host.ts';
import type { HostFacts, Way } from './underlay.ts';

/** Every IPv6 link carries packets of this size (RFC 8200, section 5), or Linux has no IPv6 on it. */
const ipv6MinimumBytes = 1280;

/** An address to which the MTU is to be measured. */
export interface PathTarget {
  readonly node: string;
  readonly address: string;
  readonly family: Family;
  /** What this host's own link and route let through. */
  readonly mtuBytes: number;
}

/** What was found of one path, in bytes of a pod's packet. */
interface Limit {
  readonly node: string;
  readonly bytes: number;
}

export interface Reach {
  /** By all that this host itself says. */
  mtuBytes: number;
  /** What the widest of the measured paths leaves. */
  widestBytes: number | undefined;
  /** Routes with a path narrower than this host says. */
  readonly limits: Map<RouteState, Limit>;
  readonly targets: PathTarget[];
}

export const unlimited = (): Reach => ({
  mtuBytes: Number.POSITIVE_INFINITY,
  widestBytes: undefined,
  limits: new Map(),
  targets: [],
});

export const narrow = (reach: Reach, mtuBytes: number): void => {
  reach.mtuBytes = Math.min(reach.mtuBytes, mtuBytes);
};

export interface Path {
  /** Where packets, wrapped or not, are carried to. */
  readonly target: PathTarget;
  /** What wrapping takes. */
  readonly overheadBytes: number;
  /** The routes that lead pods' packets there. */
  readonly routes: readonly RouteState[];
}

/** The address of a node as it is reached on a way. */
export const targetOf = (node: ClusterNode, { text, address }: NodeAddress, { mtuBytes }: Way): PathTarget => ({
  node: node.name,
  address: text,
  family: address.family,
  mtuBytes,
});

/** What this host itself says of a path. */
export const bytesOf = ({ target, overheadBytes }: Path): number => target.mtuBytes - overheadBytes;

/** Takes one path into account. */
export function addPath(reach: Reach, facts: HostFacts, path: Path): void {
  narrow(reach, bytesOf(path));
  reach.targets.push(path.target);
  addMeasured(reach, facts, path);
}

/** Of a path, what was measured. */
export function addMeasured(reach: Reach, { pathMtus }: HostFacts, { target, overheadBytes, routes }: Path): void {
  const measured = pathMtus?.get(target.address);
  if (measured === undefined) return;
  const bytes = Math.min(measured, target.mtuBytes) - overheadBytes;
  reach.widestBytes = Math.max(reach.widestBytes ?? 0, bytes);
  if (measured >= target.mtuBytes) return;
  for (const route of routes) {
    if (bytes < (reach.limits.get(route)?.bytes ?? Number.POSITIVE_INFINITY)) {
      reach.limits.set(route, { node: target.node, bytes });
    }
  }
}

/** The routes, with an MTU of their own where their path is narrower than devices of this MTU. */
export function withLimits(
  routes: readonly RouteState[],
  { limits }: Reach,
  mtuBytes: number,
  problems: PlanProblem[],
): RouteState[] {
  if (limits.size === 0) return [...routes];
  const tooNarrow = new Set<string>();
  const limited = routes.map((route) => {
    const limit = limits.get(route);
    if (!limit || limit.bytes >= mtuBytes) return route;
    if (!route.prefix.includes(':') || limit.bytes >= ipv6MinimumBytes) return { ...route, mtuBytes: limit.bytes };
    if (!tooNarrow.has(limit.node)) {
      const text = `the path to node "${limit.node}" leaves ${limit.bytes} bytes for a pod's packet, and IPv6 needs ${ipv6MinimumBytes}; give the links in between a greater MTU`;
      problems.push({ node: limit.node, text });
    }
    tooNarrow.add(limit.node);
    return { ...route, mtuBytes: ipv6MinimumBytes };
  });
  return limited;
}

/** The MTU of pods to come, where devices have this one. */
export function podMtu(mtuBytes: number, reaches: readonly Reach[], pods: readonly Family[]): number {
  const widest = Math.min(...reaches.map((r) => r.widestBytes ?? Number.POSITIVE_INFINITY));
  const least = pods.includes(6) ? ipv6MinimumBytes : 0;
  return Math.min(mtuBytes, Math.max(widest, least));
}

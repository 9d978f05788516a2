/**
 * A change of traffic while packets flow, as the clusters that are written one after the other. Every node has taken up the one
 * before the next is written, so that at no time anybody sends what another does not understand:
 *
 *   { mode: vxlan }                              before
 *   { mode: vxlan, alsoAccept: wireguard }       devices and entries of both are there, routes are as before
 *   { mode: wireguard, alsoAccept: vxlan }       each route is replaced in place
 *   { mode: wireguard }                          what only the old one needed goes
 *
 * So the cluster's own words say how far a change is; it can be finished or taken back from anywhere, by anybody.
 */

import type { ClusterTraffic, Traffic } from './cluster.ts';

/** What the nodes do in a step. */
export type Phase = 'accept' | 'switch' | 'done';

export interface Step {
  readonly phase: Phase;
  readonly traffic: ClusterTraffic;
}

const strip = ({ mode, betweenSites, sameSubnet }: Traffic): Traffic => ({
  mode,
  ...(betweenSites && betweenSites !== mode && { betweenSites }),
  sameSubnet,
});

/** As it stands in a file: without what goes without saying. */
export const spelled = (t: ClusterTraffic): ClusterTraffic => ({
  ...strip(t),
  ...(t.alsoAccept && { alsoAccept: strip(t.alsoAccept) }),
});

/** Whether two say the same. */
export const sameTraffic = (a: ClusterTraffic, b: ClusterTraffic): boolean =>
  JSON.stringify(spelled(a)) === JSON.stringify(spelled(b));

/** "vxlan", "routed (between sites wireguard, same subnet direct)" */
export function formatTraffic(traffic: Traffic): string {
  const { mode, betweenSites, sameSubnet } = strip(traffic);
  const more = [betweenSites && `between sites ${betweenSites}`, sameSubnet === 'direct' && 'same subnet direct'];
  const said = more.filter((m) => m);
  return said.length > 0 ? `${mode} (${said.join(', ')})` : mode;
}

/** The phase that a cluster is in on its way to `target`. */
function phaseOf(traffic: ClusterTraffic, target: Traffic): Phase {
  if (!traffic.alsoAccept) return 'done';
  return sameTraffic(strip(traffic), target) ? 'switch' : 'accept';
}

/**
 * What has to be written, one after the other, to get from where the cluster is to `target`; the first may be what is there
 * already, for every node to confirm. Undefined: another change is on its way.
 */
export function stepsTo(target: Traffic, current: ClusterTraffic): Step[] | undefined {
  const [old, also] = [strip(current), current.alsoAccept && strip(current.alsoAccept)];
  const to = strip(target);
  const switched: ClusterTraffic = { ...to, alsoAccept: old };
  const steps = (...traffics: ClusterTraffic[]): Step[] =>
    traffics.map((traffic) => ({ phase: phaseOf(traffic, to), traffic }));
  if (!also) return sameTraffic(old, to) ? steps(to) : steps({ ...old, alsoAccept: to }, switched, to);
  if (sameTraffic(old, to)) return steps(spelled(current), to);
  return sameTraffic(also, to) ? steps(spelled(current), switched, to) : undefined;
}

/** What a cluster that brings about itself what is wanted has been told. */
export interface Said {
  /** What is in force; nothing: as each node says itself. */
  readonly traffic?: ClusterTraffic | undefined;
  /** What people want. */
  readonly wanted?: Traffic | undefined;
  /** What was wanted and did not get through; it is not tried again. */
  readonly takenBack?: { readonly wanted: Traffic; readonly because: string } | undefined;
}

export const isTakenBack = ({ traffic, wanted, takenBack }: Said): boolean =>
  wanted !== undefined &&
  takenBack !== undefined &&
  sameTraffic(wanted, takenBack.wanted) &&
  !(traffic && sameTraffic(wanted, traffic));

/** Where such a cluster has to go; undefined: it can stay where it is. */
export function dueOf(said: Said): Traffic | undefined {
  const { traffic, wanted } = said;
  if (!wanted || isTakenBack(said)) return undefined;
  if (!traffic?.alsoAccept) return traffic && sameTraffic(traffic, wanted) ? undefined : wanted;
  // an unfinished change to something else is brought to an end first
  const isOnTheWay = [strip(traffic), traffic.alsoAccept].some((way) => sameTraffic(way, wanted));
  return isOnTheWay ? wanted : strip(traffic);
}

/**
 * The paths to the other nodes: which mode leads to which node, what all of them add up to, and the MTU that they leave.
 * Between nodes of one site it is `mode`, between sites `betweenSites`; on a shared link an overlay may step aside (`sameSubnet`).
 */

import { type NodeWays, planAuto } from './auto.ts';
import { type BgpPlan, birdRoutes, planBgp } from './bgp.ts';
import { type ClusterNode, type Mode, type NodeAddress, PlanError, type PlanProblem, type Traffic } from './cluster.ts';
import { mergeStates, type NamespaceState, type RouteState, type SysctlState } from './host.ts';
import { planIpip } from './ipip.ts';
import { type Overlay, type OverlayContext, podFamiliesOf } from './overlay.ts';
import { addOverlay } from './passages.ts';
import { narrow, type PathTarget, podMtu, unlimited, withLimits } from './path-mtu.ts';
import { probeAddresses } from './probe-addresses.ts';
import { isAuto, modesOf, type OverlayMode } from './settings.ts';
import { addRouted, modeBetween, type PathContext, type Share, sharesOf } from './share.ts';
import { type Probe, planTrial } from './trial.ts';
import type { HostFacts, Underlay } from './underlay.ts';
import { planVxlan } from './vxlan.ts';
import { planWireguard } from './wireguard.ts';

const overlays: Readonly<Record<OverlayMode, (context: OverlayContext) => Overlay>> = {
  vxlan: planVxlan,
  ipip: planIpip,
  wireguard: planWireguard,
};

/** What the paths to the other nodes add up to. */
export interface Paths {
  readonly routes: RouteState[];
  /** All that they need beside routes. */
  readonly parts: Partial<NamespaceState>[];
  readonly problems: PlanProblem[];
  /** Nodes' addresses that may see pods' own addresses. */
  readonly unmasked: NodeAddress[];
  /** Addresses that answer over the paths that are changing. */
  readonly probes: Probe[];
  /** What mode auto may choose among, node by node. */
  readonly ways: readonly NodeWays[];
  /** Of pods to come. */
  readonly mtuBytes: number;
  /** Where to measure the MTU. */
  readonly targets: readonly PathTarget[];
  /** What BIRD is to do, where bgp is one of the modes. */
  readonly bgp: BgpPlan | undefined;
}

/**
 * Over a shared link a pod's packet to a node comes plain, and the node's answer goes through its tunnel: the uplink must not
 * insist on answering by itself. Loose (2) still drops what has no way back at all.
 */
const loosened = (underlay: Underlay, facts: HostFacts): SysctlState[] =>
  [...new Set([...underlay.own.values()].map((way) => way.dev))]
    .filter((dev) => facts.strict.includes(dev))
    .map((dev) => ({ key: `net/ipv4/conf/${dev}/rp_filter`, value: '2' }));

function checkMtu(wanted: number | 'auto', possible: number, problems: PlanProblem[]): number {
  if (wanted === 'auto') return possible;
  if (wanted > possible) {
    problems.push({
      text: `mtu: ${wanted} is more than the ${possible} bytes that the underlay leaves; packets will be lost`,
    });
  }
  return wanted;
}

/** The overlay of a mode. What keeps one from being made that no packet is sent by yet is a problem of `alsoAccept` alone. */
function overlayOf(
  mode: OverlayMode,
  nodes: readonly ClusterNode[],
  shares: readonly Share[],
  context: Omit<OverlayContext, 'nodes'>,
) {
  try {
    return overlays[mode]({ ...context, nodes });
  } catch (error) {
    if (!(error instanceof PlanError) || shares.some((s) => s.carries)) throw error;
    for (const share of shares) share.problems.push({ text: error.message });
    return undefined;
  }
}

/** The shares that a mode is part of, whether it leads to a node in one of them, and all nodes that it leads to. */
function reachOf(mode: Mode, all: readonly Share[], { own, others }: PathContext) {
  const shares = all.filter((s) => modesOf(s.traffic).includes(mode));
  const leads = ({ traffic }: Share, node: ClusterNode) => modeBetween(own, node, traffic) === mode;
  const isEverywhere = shares.some((s) => s.traffic.betweenSites === undefined);
  return {
    shares,
    leads,
    nodes: isEverywhere ? others : others.filter((n) => shares.some((share) => leads(share, n))),
  };
}

/** Packets that nothing is wrapped around. */
function narrowToUnderlay(shares: readonly Share[], { underlay }: PathContext): void {
  for (const { mtuBytes } of underlay.own.values()) for (const { reach } of shares) narrow(reach, mtuBytes);
}

/** All nodes that BGP leads to. BIRD's routes stand behind all others to the same prefix: the two can be there at once. */
function addBgp(all: readonly Share[], context: PathContext): BgpPlan {
  const { shares, nodes } = reachOf('bgp', all, context);
  const { plan, problems, unmasked, mtuBytes, targets } = planBgp({ ...context, nodes });
  narrowToUnderlay(shares, context);
  for (const share of shares) {
    share.learnt.push(...birdRoutes(context.facts));
    share.problems.push(...problems);
    share.unmasked.push(...unmasked);
    share.reach.targets.push(...targets);
    narrow(share.reach, mtuBytes);
  }
  return plan;
}

/** All nodes that a mode leads to. Answers the overlay, where it is one. */
function addMode(
  mode: Exclude<Mode, 'bgp'>,
  all: readonly Share[],
  context: PathContext,
  probes: Probes,
  parts: Partial<NamespaceState>[],
): Overlay | undefined {
  const { shares, leads, nodes } = reachOf(mode, all, context);
  if (mode === 'routed') {
    for (const node of nodes) for (const share of shares) if (leads(share, node)) addRouted(share, context, node);
    narrowToUnderlay(shares, context);
    return undefined;
  }
  const probeOf = probes?.(mode);
  const overlay = overlayOf(mode, nodes, shares, { ...context, probeOf });
  if (!overlay) return undefined;
  parts.push(addOverlay({ mode, shares, leads, nodes, overlay, probeOf }, context));
  for (const w of overlay.wraps) {
    for (const { reach } of shares) narrow(reach, context.underlay.own.get(w.family)!.mtuBytes - w.overheadBytes);
  }
  return overlay;
}

/** What mode auto makes of its candidates, as one share. */
function autoShare(traffic: Traffic, candidates: readonly Share[], context: PathContext, probes: Probes) {
  const { auto } = context.settings;
  const plan = planAuto({ ...context, auto, traffic, probeOf: probes! }, candidates);
  const { routes, problems } = plan;
  const learnt: RouteState[] = [];
  const reach = { ...unlimited(), limits: new Map(candidates.flatMap((c) => [...c.reach.limits])) };
  const share = {
    ...candidates[0]!,
    carries: false,
    routes,
    learnt,
    problems,
    reach,
    unmasked: plan.unmasked,
  };
  return { share, ...plan };
}

type Probes = ReturnType<typeof probeAddresses> | undefined;

/** All paths, with the devices that they go through. `ground` comes first of the parts. */
export function planPaths(context: PathContext): Paths {
  const { own, others, underlay, settings, facts } = context;
  const { alsoAccept, ...current } = settings;
  const carriers = sharesOf(current, true, settings);
  const acceptors = alsoAccept ? sharesOf(alsoAccept, false, settings) : [];
  const shares = [...carriers, ...acceptors];
  const probes = isAuto(settings) ? probeAddresses([own, ...others]) : undefined;
  const parts: Partial<NamespaceState>[] = [];
  const used = modesOf(settings).flatMap((mode) =>
    mode === 'bgp' ? [] : (addMode(mode, shares, context, probes, parts) ?? []),
  );
  const bgp = modesOf(settings).includes('bgp') ? addBgp(shares, context) : undefined;
  const autoOf = (traffic: Traffic | undefined, its: readonly Share[]) =>
    traffic?.mode === 'auto' ? autoShare(traffic, its, context, probes) : undefined;
  const [autoNow, autoNext] = [autoOf(current, carriers), autoOf(alsoAccept, acceptors)];
  const carrying = autoNow?.share ?? carriers[0]!;
  const accepted = autoNext?.share ?? acceptors[0];
  const { problems, unmasked } = carrying;
  // pods of before and after the change have to get on with both
  const reaches = shares.map((s) => s.reach);
  const deviceMtu = checkMtu(settings.mtu, Math.min(...reaches.map((r) => r.mtuBytes)), problems);
  const mtuBytes = settings.mtu === 'auto' ? podMtu(deviceMtu, reaches, podFamiliesOf(context.own)) : deviceMtu;
  const routes = withLimits(carrying.routes, carrying.reach, deviceMtu, problems);
  const targets = new Map<string, PathTarget>();
  for (const reach of reaches) for (const target of reach.targets) targets.set(target.address, target);
  const ground = used.map((overlay) => overlay.ground(deviceMtu));
  const sysctls = used.length > 0 ? loosened(underlay, facts) : [];
  parts.unshift(mergeStates(...ground, { sysctls }));
  const { ways, probeRoutes } = autoNow ?? autoNext ?? { ways: [], probeRoutes: [] };
  const common = { parts, ways, mtuBytes, targets: [...targets.values()], bgp };
  if (!accepted) {
    return { ...common, routes: [...routes, ...probeRoutes], problems, unmasked, probes: [] };
  }
  // what mode auto chooses among is probed all the time
  const isTried =
    autoNext !== undefined || (autoNow !== undefined && carriers.some((c) => c.traffic.mode === alsoAccept?.mode));
  const trial = isTried ? { routes: [], probes: [] } : planTrial(others, carrying, accepted);
  const alsoUnmasked = new Set(accepted.unmasked);
  const tried = new Set(trial.routes.map((r) => r.prefix));
  return {
    ...common,
    routes: [...routes, ...trial.routes, ...probeRoutes.filter((r) => !tried.has(r.prefix))],
    problems: [...problems, ...onlyOf(accepted, problems)],
    unmasked: unmasked.filter((a) => alsoUnmasked.has(a)),
    probes: trial.probes,
  };
}

const onlyOf = (accepted: Share, known: readonly PlanProblem[]): PlanProblem[] =>
  accepted.problems
    .filter(({ text }) => !known.some((p) => p.text === text))
    .map((p) => ({ ...p, text: `alsoAccept: ${p.text}`, alsoAccept: true }));

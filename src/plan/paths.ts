/**
 * The paths to the other nodes: which mode leads to which node, what all of them add up to, and the MTU that they leave.
 * Between nodes of one site it is `mode`, between sites `betweenSites`; on a shared link an overlay may step aside (`sameSubnet`).
 */

import { type Family, families } from '../net/address.ts';
import { type BgpPlan, planBgp } from './bgp.ts';
import { addressOf, type ClusterNode, type NodeAddress, type PlanProblem } from './cluster.ts';
import { mergeStates, type NamespaceState, type RouteState, type SysctlState } from './host.ts';
import { planIpip } from './ipip.ts';
import { type Overlay, type OverlayContext, podFamiliesOf, type Wrap } from './overlay.ts';
import { planRoutes, routedWay, sharedLink } from './routed.ts';
import { type Mode, modesOf, type NodeSettings, type OverlayMode } from './settings.ts';
import type { HostFacts, Underlay, Way } from './underlay.ts';
import { planVxlan } from './vxlan.ts';
import { planWireguard } from './wireguard.ts';

const overlays: Readonly<Record<OverlayMode, (context: OverlayContext) => Overlay>> = {
  vxlan: planVxlan,
  ipip: planIpip,
  wireguard: planWireguard,
};

export interface PathContext {
  readonly own: ClusterNode;
  readonly others: readonly ClusterNode[];
  readonly underlay: Underlay;
  readonly settings: NodeSettings;
  readonly facts: HostFacts;
}

/** What the paths to the other nodes add up to. */
export interface Paths {
  readonly routes: RouteState[];
  /** All that they need beside routes. */
  readonly parts: Partial<NamespaceState>[];
  readonly problems: PlanProblem[];
  /** Nodes' addresses that may see pods' own addresses. */
  readonly unmasked: NodeAddress[];
  mtuBytes: number;
  /** What BIRD is to do, in mode bgp. */
  bgp?: BgpPlan;
}

/** The mode that leads from one node to another. */
export const modeBetween = (own: ClusterNode, node: ClusterNode, { mode, betweenSites }: NodeSettings): Mode =>
  own.site === node.site ? mode : (betweenSites ?? mode);

/** Families of pods that both sides have. */
const podFamilies = (own: ClusterNode, node: ClusterNode): Family[] => {
  const its = podFamiliesOf(node);
  return podFamiliesOf(own).filter((f) => its.includes(f));
};

const narrow = (paths: Paths, mtuBytes: number): void => {
  paths.mtuBytes = Math.min(paths.mtuBytes, mtuBytes);
};

function routePlainly(paths: Paths, node: ClusterNode, family: Family, way: Way): void {
  paths.routes.push(...planRoutes(node, family, way));
  narrow(paths, way.mtuBytes);
}

function addRouted(paths: Paths, { own, underlay, settings }: PathContext, node: ClusterNode): void {
  for (const family of podFamilies(own, node)) {
    const way = routedWay(underlay, node, family, settings.behindRouter);
    if ('text' in way) {
      paths.problems.push(way);
      continue;
    }
    routePlainly(paths, node, family, way);
    // a node that has routes to our pods can answer them
    paths.unmasked.push(addressOf(node, family)!);
  }
}

function addBgp(paths: Paths, context: PathContext, nodes: readonly ClusterNode[]): void {
  const { plan, problems, unmasked, mtuBytes } = planBgp({ ...context, nodes });
  paths.bgp = plan;
  paths.problems.push(...problems);
  paths.unmasked.push(...unmasked);
  narrow(paths, mtuBytes);
}

/** What wrapping leaves of the way to a node. */
function narrowByWraps(paths: Paths, node: ClusterNode, wraps: readonly Wrap[], underlay: Underlay): void {
  for (const { family, overheadBytes } of wraps) {
    const way = underlay.wayTo(addressOf(node, family)!.address);
    if (way) narrow(paths, way.mtuBytes - overheadBytes);
    else paths.problems.push({ node: node.name, text: `no route of this host leads to node "${node.name}"` });
  }
}

function addOverlay(
  paths: Paths,
  { own, underlay, settings }: PathContext,
  overlay: Overlay,
  nodes: readonly ClusterNode[],
): void {
  for (const node of nodes) {
    const links = families.filter((f) => sharedLink(underlay, node, f));
    const pods = podFamilies(own, node);
    const direct = settings.sameSubnet === 'direct' ? pods.filter((f) => links.includes(f)) : [];
    const tunnelled = pods.filter((f) => !direct.includes(f));
    for (const f of direct) routePlainly(paths, node, f, sharedLink(underlay, node, f)!);
    if (tunnelled.length > 0) {
      const tunnel = overlay.tunnel(node, tunnelled);
      paths.routes.push(...tunnel.routes);
      paths.parts.push(tunnel.entries);
      paths.problems.push(...tunnel.problems);
      narrowByWraps(paths, node, tunnel.wraps, underlay);
    }
    // A pod's packet to a node's own address takes no tunnel. Over a shared link it may keep the pod's address, if the node's answer
    // finds back. A router in between would see an address that it does not know, and may drop it: masquerade there.
    const seeing = overlay.answersPods ? links : direct;
    paths.unmasked.push(...node.addresses.filter((a) => seeing.includes(a.address.family)));
  }
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

/** All paths, with the devices that they go through. `ground` comes first of the parts. */
export function planPaths(context: PathContext): Paths {
  const { own, others, underlay, settings, facts } = context;
  const paths: Paths = { routes: [], parts: [], problems: [], unmasked: [], mtuBytes: Number.POSITIVE_INFINITY };
  const used: Overlay[] = [];
  for (const mode of modesOf(settings)) {
    const nodes = others.filter((node) => modeBetween(own, node, settings) === mode);
    if (mode === 'routed' || mode === 'bgp') {
      if (mode === 'bgp') addBgp(paths, context, nodes);
      else for (const node of nodes) addRouted(paths, context, node);
      for (const { mtuBytes } of underlay.own.values()) narrow(paths, mtuBytes);
      continue;
    }
    const overlay = overlays[mode]({ own, nodes, underlay, settings, facts });
    used.push(overlay);
    addOverlay(paths, context, overlay, nodes);
    for (const w of overlay.wraps) narrow(paths, underlay.own.get(w.family)!.mtuBytes - w.overheadBytes);
  }
  paths.mtuBytes = checkMtu(settings.mtu, paths.mtuBytes, paths.problems);
  const ground = used.map((overlay) => overlay.ground(paths.mtuBytes));
  const sysctls = used.length > 0 ? loosened(underlay, facts) : [];
  paths.parts.unshift(mergeStates(...ground, { sysctls }));
  return paths;
}

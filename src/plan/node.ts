/** One node's whole share of the network: what its namespace should hold so that its pods and those of all other nodes talk. */

import { type Family, families } from '../net/address.ts';
import {
  addressOf,
  type ClusterNode,
  type ClusterView,
  type NodeAddress,
  PlanError,
  type PlanProblem,
  podCidrsOf,
} from './cluster.ts';
import { planClusterTable } from './cluster-table.ts';
import {
  type FdbState,
  mergeStates,
  type NamespaceState,
  type NeighbourState,
  type RouteState,
  type SysctlState,
} from './host.ts';
import { type BehindRouter, planRoutes, routedWay, sharedLink } from './routed.ts';
import { type HostFacts, readUnderlay, type Underlay, type Way } from './underlay.ts';
import { linkInTheWay, planTunnel, planVtep, underlayFamily, type VxlanSettings, vxlanOverheadBytes } from './vxlan.ts';

export interface NodeSettings {
  readonly node: string;
  readonly mode: 'vxlan' | 'routed';
  readonly sameSubnet: 'tunnel' | 'direct';
  readonly behindRouter: BehindRouter;
  readonly mtu: number | 'auto';
  readonly masquerade: boolean;
  readonly vxlan: VxlanSettings;
}

export interface NodePlan {
  readonly state: NamespaceState;
  /** Parts that cannot be had; the rest stands. */
  readonly problems: readonly PlanProblem[];
  readonly own: ClusterNode;
  /** What a pod's packets may be long. */
  readonly mtuBytes: number;
  /** The interfaces it rests on. */
  readonly devices: readonly string[];
}

/** What the paths to the other nodes add up to. */
interface Paths {
  routes: RouteState[];
  neighbours: NeighbourState[];
  fdb: FdbState[];
  problems: PlanProblem[];
  /** Nodes' addresses that may see pods' own addresses. */
  unmasked: NodeAddress[];
  mtuBytes: number;
}

interface Context {
  readonly own: ClusterNode;
  readonly others: readonly ClusterNode[];
  readonly underlay: Underlay;
  readonly settings: NodeSettings;
}

const noPaths = (): Paths => ({
  routes: [],
  neighbours: [],
  fdb: [],
  problems: [],
  unmasked: [],
  mtuBytes: Number.POSITIVE_INFINITY,
});

/** Families of pods that both sides have. */
const podFamilies = (own: ClusterNode, node: ClusterNode): Family[] =>
  families.filter((f) => own.podCIDRs.some(is(f)) && node.podCIDRs.some(is(f)));
const is =
  (family: Family) =>
  (p: { prefix: { address: { family: Family } } }): boolean =>
    p.prefix.address.family === family;

function routePlainly(paths: Paths, node: ClusterNode, family: Family, way: Way): void {
  paths.routes.push(...planRoutes(node, family, way));
  paths.mtuBytes = Math.min(paths.mtuBytes, way.mtuBytes);
}

function routedPaths({ own, others, underlay, settings }: Context): Paths {
  const paths = noPaths();
  for (const node of others) {
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
  return paths;
}

function vxlanPaths({ own, others, underlay, settings }: Context, family: Family): Paths {
  const paths = noPaths();
  const overhead = vxlanOverheadBytes[family];
  for (const node of others) {
    const links = families.filter((f) => sharedLink(underlay, node, f));
    const pods = podFamilies(own, node);
    const direct = settings.sameSubnet === 'direct' ? pods.filter((f) => links.includes(f)) : [];
    const tunnelled = pods.filter((f) => !direct.includes(f));
    for (const f of direct) routePlainly(paths, node, f, sharedLink(underlay, node, f)!);
    const tunnel = planTunnel(node, tunnelled, family);
    paths.routes.push(...tunnel.routes);
    paths.neighbours.push(...tunnel.neighbours);
    paths.fdb.push(...tunnel.fdb);
    const way = underlay.wayTo(addressOf(node, family)!.address);
    if (!way) paths.problems.push({ node: node.name, text: `no route of this host leads to node "${node.name}"` });
    else if (tunnelled.length > 0) paths.mtuBytes = Math.min(paths.mtuBytes, way.mtuBytes - overhead);
    // A pod's packet to a node's own address takes no tunnel. Over a shared link it may keep the pod's address: the node answers
    // through its tunnel. A router in between would see an address that it does not know, and may drop it: masquerade there.
    paths.unmasked.push(...node.addresses.filter((a) => links.includes(a.address.family)));
  }
  return paths;
}

/** Forwarding on, for the families that pods use. */
function forwarding(inUse: readonly Family[], facts: HostFacts): SysctlState[] {
  if (inUse.includes(6) && !facts.hasIpv6) {
    throw new PlanError('this kernel has IPv6 switched off, but podCIDRs are IPv6; boot without ipv6.disable=1');
  }
  // a forwarding host stops listening to routers and loses its default route, unless accept_ra says 2: so that comes first
  const uplinks = inUse.includes(6) ? facts.advertised : [];
  return [
    ...uplinks.map((dev) => ({ key: `net/ipv6/conf/${dev}/accept_ra`, value: '2' })),
    ...inUse.map((f) => ({ key: f === 4 ? 'net/ipv4/ip_forward' : 'net/ipv6/conf/all/forwarding', value: '1' })),
  ];
}

function checkMtu(wanted: number | 'auto', possible: number, problems: PlanProblem[]): number {
  if (wanted === 'auto') return possible;
  if (wanted > possible) {
    problems.push({
      text: `mtu: ${wanted} is more than the ${possible} bytes that the underlay leaves; packets will be lost`,
    });
  }
  return wanted;
}

/** `ip route replace` would take the place of somebody else's route to the same prefix: that one stays, and is named. */
function withoutForeign(routes: RouteState[], facts: HostFacts, problems: PlanProblem[]): RouteState[] {
  const taken = new Map(facts.routes.filter((r) => r.metric === undefined).map((r) => [r.prefix, r]));
  return routes.filter(({ prefix }) => {
    const other = taken.get(prefix);
    if (!other) return true;
    const way = `${other.via ? `via ${other.via} ` : ''}dev ${other.dev}`;
    const owner = other.protocol ?? 'boot';
    problems.push({
      text: `a route to ${prefix} ${way} of protocol ${owner} is in the way; if nobody needs it: ip route delete ${prefix} ${way}`,
    });
    return false;
  });
}

/**
 * Over a shared link a pod's packet to a node comes plain, and the node's answer goes through its tunnel: the uplink must not
 * insist on answering by itself. Loose (2) still drops what has no way back at all.
 */
const loosened = (underlay: Underlay, facts: HostFacts): SysctlState[] =>
  [...new Set([...underlay.own.values()].map((way) => way.dev))]
    .filter((dev) => facts.strict.includes(dev))
    .map((dev) => ({ key: `net/ipv4/conf/${dev}/rp_filter`, value: '2' }));

interface ModePlan {
  paths: Paths;
  vtep: Partial<NamespaceState>;
  mtuBytes: number;
}

function planOverlay(context: Context, family: Family, facts: HostFacts): ModePlan {
  const { own, underlay, settings } = context;
  const obstacle = linkInTheWay(facts, own, settings.vxlan);
  if (obstacle) throw new PlanError(obstacle);
  const local = underlay.own.get(family)!;
  const paths = vxlanPaths(context, family);
  const possible = Math.min(paths.mtuBytes, local.mtuBytes - vxlanOverheadBytes[family]);
  const mtuBytes = checkMtu(settings.mtu, possible, paths.problems);
  const vtep = planVtep(own, settings.vxlan, local, mtuBytes, facts);
  return { paths, vtep: { ...vtep, sysctls: [...(vtep.sysctls ?? []), ...loosened(underlay, facts)] }, mtuBytes };
}

function planRouted(context: Context): ModePlan {
  const paths = routedPaths(context);
  const possible = Math.min(paths.mtuBytes, ...[...context.underlay.own.values()].map((o) => o.mtuBytes));
  return { paths, vtep: {}, mtuBytes: checkMtu(context.settings.mtu, possible, paths.problems) };
}

/** Everything, from the cluster, the settings and what was read of the host. Throws PlanError when there is nothing to stand on. */
export function planNode(view: ClusterView, settings: NodeSettings, facts: HostFacts): NodePlan {
  const own = view.nodes.find((n) => n.name === settings.node);
  if (!own) {
    throw new PlanError(
      `node "${settings.node}" is not in the cluster file; add it there, or set \`node\` to one of its names`,
    );
  }
  const underlay = readUnderlay(facts, own);
  const context: Context = { own, others: view.nodes.filter((n) => n !== own), underlay, settings };
  const sysctls = forwarding(
    families.filter((f) => podCidrsOf(own, f).length > 0),
    facts,
  );
  const { paths, vtep, mtuBytes } =
    settings.mode === 'vxlan' ? planOverlay(context, underlayFamily(view), facts) : planRouted(context);
  const { neighbours, fdb, problems, unmasked } = paths;
  const routes = withoutForeign(paths.routes, facts, problems);
  const table = planClusterTable({ view, own, unmasked, masquerade: settings.masquerade });
  const state = mergeStates(vtep, { routes, neighbours, fdb, sysctls, tables: [table] });
  const devices = [...underlay.own.values(), ...routes].flatMap((r) => r.dev ?? []);
  return { state, problems, own, mtuBytes, devices: [...new Set(devices)] };
}

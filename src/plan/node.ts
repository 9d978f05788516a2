/** One node's whole share of the network: what its namespace should hold so that its pods and those of all other nodes talk. */

import { Distinct, FlatList } from '../mapped-list.ts';
import type { Family } from '../net/address.ts';
import type { NodeWays } from './auto.ts';
import type { BgpPlan } from './bgp.ts';
import { type ClusterNode, type ClusterView, PlanError, type PlanProblem } from './cluster.ts';
import { planClusterTable } from './cluster-table.ts';
import { flowDevices, planFlowtable } from './flowtable.ts';
import { mergeStates, type NamespaceState, type RouteState, type SysctlState, type TableState } from './host.ts';
import { ethtoolProblems } from './offload.ts';
import { podFamiliesOf } from './overlay.ts';
import type { PathTarget } from './path-mtu.ts';
import { planPaths } from './paths.ts';
import type { NodeSettings } from './settings.ts';
import { spread } from './spread.ts';
import type { Probe } from './trial.ts';
import { type HostFacts, readUnderlay } from './underlay.ts';

export interface NodePlan {
  readonly state: NamespaceState;
  /** Parts that cannot be had; the rest stands. */
  readonly problems: readonly PlanProblem[];
  readonly own: ClusterNode;
  /** How long packets of pods to come may be. */
  readonly mtuBytes: number;
  /** Where to measure how long packets may be on their way. */
  readonly targets: readonly PathTarget[];
  /** Addresses that have to answer while traffic changes its way. */
  readonly probes: readonly Probe[];
  /** What mode auto may choose among, node by node. */
  readonly ways: readonly NodeWays[];
  /** The interfaces it rests on. */
  readonly devices: readonly string[];
  /** What BIRD is to do; undefined: there is to be no BIRD of ours. */
  readonly bgp: BgpPlan | undefined;
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

/** Somebody else's routes as last found, and what remains of ours beside them. */
function besides(foreign: readonly RouteState[]) {
  const taken = new Map(foreign.filter((r) => r.metric === undefined).map((r) => [r.prefix, r]));
  return { foreign, taken, free: new FlatList((r: RouteState) => (taken.has(r.prefix) ? [] : [r])) };
}
let lastBesides = besides([]);

/** `ip route replace` would take the place of somebody else's route to the same prefix: that one stays, and is named. */
function withoutForeign(
  routes: readonly RouteState[],
  facts: HostFacts,
  problems: PlanProblem[],
): readonly RouteState[] {
  if (lastBesides.foreign !== facts.routes) lastBesides = besides(facts.routes);
  const { taken, free } = lastBesides;
  const standing = free.of(routes);
  for (const { prefix } of standing.length < routes.length ? routes : []) {
    const other = taken.get(prefix);
    if (!other) continue;
    const way = `${other.via ? `via ${other.via} ` : ''}dev ${other.dev}`;
    const owner = other.protocol ?? 'boot';
    problems.push({
      text: `a route to ${prefix} ${way} of protocol ${owner} is in the way; if nobody needs it: ip route delete ${prefix} ${way}`,
    });
  }
  return standing;
}

/** The plugin's bridge, where pods are attached to one. */
export const podBridge = 'culvert0';

function fastPath(
  own: ClusterNode,
  settings: NodeSettings,
  facts: HostFacts,
  devices: readonly string[],
  problems: PlanProblem[],
): TableState[] {
  if (settings.flowtable === false) return [];
  if (facts.hasFlowtable) return [planFlowtable(own, flowDevices(devices, facts.links, podBridge))];
  if (settings.flowtable === true) {
    problems.push({
      text: 'flowtable: this kernel has none, packets take the usual way; load the modules nf_flow_table_inet and nft_flow_offload, or set flowtable: auto',
    });
  }
  return [];
}

const routeDevices = new Distinct((route: RouteState) => route.dev);

/** Everything, from the cluster, the settings and what was read of the host. Throws PlanError when there is nothing to stand on. */
export function planNode(view: ClusterView, settings: NodeSettings, facts: HostFacts): NodePlan {
  const own = view.nodes.find((n) => n.name === settings.node);
  if (!own) {
    throw new PlanError(
      `node "${settings.node}" is not in the cluster file; add it there, or set \`node\` to one of its names`,
    );
  }
  const underlay = readUnderlay(facts, own);
  const sysctls = forwarding(podFamiliesOf(own), facts);
  const others = view.nodes.filter((n) => n !== own);
  const { parts, problems, unmasked, probes, ways, mtuBytes, targets, bgp, ...paths } = planPaths({
    own,
    others,
    underlay,
    settings,
    facts,
  });
  problems.push(...ethtoolProblems(facts));
  const routes = spread(withoutForeign(paths.routes, facts, problems));
  const table = planClusterTable({ view, own, unmasked, masquerade: settings.masquerade });
  const uplinks = [...underlay.own.values()].map((way) => way.dev);
  const all = new Set([...uplinks, ...routeDevices.of(routes)]);
  const devices = [...all].filter((dev) => dev !== undefined).sort();
  const tables = [table, ...fastPath(own, settings, facts, devices, problems)];
  const state = mergeStates(...parts, { routes, sysctls, tables });
  return { state, problems, own, mtuBytes, targets, probes, ways, devices, bgp };
}

/** How long a packet to any of these podCIDRs may be: as their narrowest route says, or pods' links. */
export function packetBytes({ state, mtuBytes }: Pick<NodePlan, 'state' | 'mtuBytes'>) {
  const limits = new Map(state.routes.flatMap((r) => (r.mtuBytes === undefined ? [] : [[r.prefix, r.mtuBytes]])));
  return (podCIDRs: readonly string[]): number => Math.min(mtuBytes, ...podCIDRs.flatMap((p) => limits.get(p) ?? []));
}

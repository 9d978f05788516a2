/**
 * Mode `auto`: to each node the ways that can be had, all of them accepted, and one of them carries. Which one is decided
 * elsewhere (choice.ts, by what passes); here is what it comes to in routes, and which addresses ask for which way. A node may
 * choose another way than the one that answers it: whatever comes in by any of them is taken.
 */

import type { Family } from '../net/address.ts';
import {
  type ClusterNode,
  type Mode,
  type NodeAddress,
  type PlanProblem,
  podCidrsOf,
  type Traffic,
  type WayMode,
} from './cluster.ts';
import type { RouteState } from './host.ts';
import { hostText, type ProbeOf } from './overlay.ts';
import type { AutoSettings } from './settings.ts';
import { podFamilies } from './share.ts';

/** What one candidate is to all nodes. */
export interface Candidate {
  readonly traffic: { readonly mode: Mode };
  readonly routes: readonly RouteState[];
  readonly problems: readonly PlanProblem[];
  readonly unmasked: readonly NodeAddress[];
}

/** A question that goes one way only, and so does its answer. */
export interface WayProbe {
  readonly family: Family;
  readonly address: string;
  /** Our own address of that way, to ask from. */
  readonly source: string;
}

/** The ways to one node. */
export interface NodeWays {
  readonly node: string;
  /** To which these ways lead. */
  readonly podCIDRs: readonly string[];
  readonly carries: WayMode;
  /** In the order in which they are preferred. */
  readonly candidates: readonly { readonly way: WayMode; readonly probes: readonly WayProbe[] }[];
  /** Those that cannot be had, in words. */
  readonly lacking: readonly string[];
}

export interface AutoPlan {
  /** To podCIDRs. */
  readonly routes: RouteState[];
  /** To the addresses that are probed. */
  readonly probeRoutes: RouteState[];
  readonly ways: NodeWays[];
  readonly problems: PlanProblem[];
  readonly unmasked: NodeAddress[];
}

export interface AutoContext {
  readonly own: ClusterNode;
  readonly others: readonly ClusterNode[];
  readonly auto: AutoSettings;
  readonly traffic: Traffic;
  readonly probeOf: (way: Exclude<WayMode, 'routed'>) => ProbeOf;
}

/** A candidate with its routes by prefix. */
interface Option {
  readonly way: WayMode;
  readonly routes: ReadonlyMap<string, RouteState>;
  readonly share: Candidate;
  readonly unmasked: ReadonlySet<NodeAddress>;
}

/** How one option is asked for, and the routes that this takes. Plain routes are tried by the address that tunnel devices carry. */
function probesOf({ own, probeOf }: AutoContext, option: Option, node: ClusterNode, pods: readonly Family[]) {
  const { way, routes } = option;
  const probes: WayProbe[] = [];
  const needed: RouteState[] = [];
  for (const family of pods) {
    const [its, ours] = [node, own].map((n) =>
      way === 'routed' ? podCidrsOf(n, family)[0]!.first : probeOf(way)(n, family),
    ) as [string, string];
    const prefix = hostText(its, family);
    const route = way === 'routed' ? routes.get(podCidrsOf(node, family)[0]!.text) : routes.get(prefix);
    probes.push({ family, address: its, source: ours });
    if (route) needed.push({ ...route, prefix });
  }
  return { probes, routes: needed };
}

const lackOf = ({ way, share }: Option, node: ClusterNode): string => {
  const texts = share.problems.filter((p) => p.node === undefined || p.node === node.name).map((p) => p.text);
  return `${way}: ${texts.join('; ') || 'leads not to all of its podCIDRs'}`;
};

function planWays(
  context: AutoContext,
  options: readonly Option[],
  node: ClusterNode,
  pods: readonly Family[],
  plan: AutoPlan,
) {
  const { own, auto, traffic } = context;
  const prefixes = pods.flatMap((f) => podCidrsOf(node, f).map((p) => p.text));
  const able = options.filter(({ routes }) => prefixes.every((p) => routes.has(p)));
  const lacking = options.filter((o) => !able.includes(o)).map((o) => lackOf(o, node));
  const last = able.at(-1);
  if (!last) {
    plan.problems.push({ node: node.name, text: `no way to node "${node.name}" can be had: ${lacking.join('; ')}` });
    return;
  }
  const isFixed = traffic.betweenSites !== undefined && own.site !== node.site;
  const carrying = able.find(({ way }) => way === auto.chosen?.get(node.name)) ?? last;
  plan.routes.push(...prefixes.map((p) => carrying.routes.get(p)!));
  plan.unmasked.push(...node.addresses.filter((a) => able.every(({ unmasked }) => unmasked.has(a))));
  if (isFixed) return;
  // no device carries the address that plain routes are tried by where there is no other way
  const isProbed = able.some(({ way }) => way !== 'routed');
  const candidates = able.map((option) => {
    const { probes, routes } = isProbed ? probesOf(context, option, node, pods) : { probes: [], routes: [] };
    if (option.way !== 'routed' || option !== carrying) plan.probeRoutes.push(...routes);
    return { way: option.way, probes };
  });
  plan.ways.push({ node: node.name, podCIDRs: prefixes, carries: carrying.way, candidates, lacking });
}

/** The ways to all other nodes; `shares` are what each candidate is to all of them, in the order of the candidates. */
export function planAuto(context: AutoContext, shares: readonly Candidate[]): AutoPlan {
  const plan: AutoPlan = { routes: [], probeRoutes: [], ways: [], problems: [], unmasked: [] };
  const options = shares.map((share): Option => {
    const routes = new Map(share.routes.map((r) => [r.prefix, r]));
    return { way: share.traffic.mode as WayMode, routes, share, unmasked: new Set(share.unmasked) };
  });
  for (const node of context.others) {
    const pods = podFamilies(context.own, node);
    if (pods.length > 0) planWays(context, options, node, pods, plan);
  }
  return plan;
}

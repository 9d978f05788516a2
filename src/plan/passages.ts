/**
 * The ways through one overlay, node by node. A node that has not changed is not planned again: of 5,000 few change at a time. And
 * what was planned for it are the same objects, which spares their comparison with what there was.
 */

import { Distinct, FlatList, MappedList } from '../mapped-list.ts';
import { type Family, families, familyOf } from '../net/address.ts';
import { addressOf, type ClusterNode, type NodeAddress, type PlanProblem } from './cluster.ts';
import { emptyState, type NamespaceState, type RouteState } from './host.ts';
import type { Overlay, ProbeOf, Tunnel } from './overlay.ts';
import { addMeasured, bytesOf, narrow, type Path, type PathTarget, targetOf } from './path-mtu.ts';
import { sharedLink } from './routed.ts';
import type { OverlayMode } from './settings.ts';
import { type Crossing, emptyCrossing, type PathContext, podFamilies, routePlainly, type Share } from './share.ts';
import type { Underlay } from './underlay.ts';

/** What wrapping leaves of the way to a node. */
function addWraps(crossing: Crossing, underlay: Underlay, node: ClusterNode, { wraps, routes }: Tunnel): void {
  for (const { family, overheadBytes } of wraps) {
    const to = addressOf(node, family)!;
    const way = underlay.wayTo(to.address);
    if (way) crossing.paths.push({ target: targetOf(node, to, way), overheadBytes, routes });
    else crossing.problems.push({ node: node.name, text: `no route of this host leads to node "${node.name}"` });
  }
}

/** Nodes by one overlay. */
export interface Crossings {
  readonly mode: OverlayMode;
  readonly overlay: Overlay;
  readonly probeOf: ProbeOf | undefined;
  readonly nodes: readonly ClusterNode[];
  readonly shares: readonly Share[];
  /** Whether a share takes it to a node. */
  readonly leads: (share: Share, node: ClusterNode) => boolean;
}

/** To one node: one tunnel, and for each share that takes it what it adds to that. */
interface Passage {
  readonly crossings: readonly (Crossing | undefined)[];
  /** What the tunnel needs. */
  readonly entries: Partial<NamespaceState> | undefined;
  /** The addresses that it is probed by. */
  readonly probed: string;
}

function planPassage(work: Crossings, { own, underlay }: PathContext, node: ClusterNode): Passage {
  const { overlay, shares, leads } = work;
  const links = families.filter((f) => sharedLink(underlay, node, f));
  const pods = podFamilies(own, node);
  const isDirect = ({ traffic }: Share, f: Family) => traffic.sameSubnet === 'direct' && links.includes(f);
  const tunnelled = pods.filter((f) => shares.some((share) => leads(share, node) && !isDirect(share, f)));
  const tunnel = tunnelled.length > 0 ? overlay.tunnel(node, tunnelled) : undefined;
  function cross(share: Share): Crossing {
    const crossing = emptyCrossing();
    const direct = pods.filter((f) => isDirect(share, f));
    for (const f of direct) routePlainly(crossing, node, f, sharedLink(underlay, node, f)!);
    if (tunnel && direct.length < pods.length) {
      crossing.routes.push(...tunnel.routes.filter((r) => !direct.includes(familyOf(r.prefix))));
      crossing.problems.push(...tunnel.problems);
      addWraps(crossing, underlay, node, tunnel);
    }
    // A pod's packet to a node's own address takes no tunnel. Over a shared link it may keep the pod's address, if the node's answer
    // finds back. A router in between would see an address that it does not know, and may drop it: masquerade there.
    const seeing = overlay.answersPods ? links : direct;
    crossing.unmasked.push(...node.addresses.filter((a) => seeing.includes(a.address.family)));
    return crossing;
  }
  return {
    crossings: shares.map((share) => (leads(share, node) ? cross(share) : undefined)),
    entries: tunnel?.entries,
    probed: probedAt(work, own, node),
  };
}

const probedAt = ({ probeOf }: Crossings, own: ClusterNode, node: ClusterNode): string =>
  probeOf
    ? podFamilies(own, node)
        .map((family) => probeOf(node, family))
        .join(' ')
    : '';

/** What a share's part of all passages adds up to. */
class Sum {
  readonly #routes: FlatList<Passage, RouteState>;
  readonly #paths: FlatList<Passage, Path>;
  readonly #problems: FlatList<Passage, PlanProblem>;
  readonly #unmasked: FlatList<Passage, NodeAddress>;
  readonly #targets = new FlatList<Path, PathTarget>((path) => [path.target]);
  readonly #bytes = new Distinct(bytesOf);

  constructor(share: number) {
    const of = (passage: Passage): Crossing => passage.crossings[share] ?? none;
    this.#routes = new FlatList((p) => of(p).routes);
    this.#paths = new FlatList((p) => of(p).paths);
    this.#problems = new FlatList((p) => of(p).problems);
    this.#unmasked = new FlatList((p) => of(p).unmasked);
  }

  addTo(share: Share, { facts }: PathContext, passages: readonly Passage[]): void {
    const paths = this.#paths.of(passages);
    // as arguments of a call they would be too many
    for (const route of this.#routes.of(passages)) share.routes.push(route);
    for (const problem of this.#problems.of(passages)) share.problems.push(problem);
    for (const address of this.#unmasked.of(passages)) share.unmasked.push(address);
    for (const target of this.#targets.of(paths)) share.reach.targets.push(target);
    for (const bytes of this.#bytes.of(paths)) narrow(share.reach, bytes);
    if (facts.pathMtus && facts.pathMtus.size > 0) for (const path of paths) addMeasured(share.reach, facts, path);
  }
}

const none = emptyCrossing();

/** What was planned last, and what it rests on beside the nodes. */
interface Planned {
  readonly underlay: Underlay;
  readonly key: string;
  readonly passages: MappedList<ClusterNode, Passage>;
  /** One for each share. */
  readonly sums: readonly Sum[];
  readonly entries: Readonly<Record<keyof NamespaceState, FlatList<Passage, unknown>>>;
}

const planned: Partial<Record<OverlayMode, Planned>> = {};

/** What tunnels need, each kind by itself. */
const entriesOf = (): Planned['entries'] => {
  const kinds = Object.keys(emptyState()) as (keyof NamespaceState)[];
  const lists = kinds.map((kind) => [kind, new FlatList<Passage, unknown>((p) => p.entries?.[kind] ?? [])]);
  return Object.fromEntries(lists) as Planned['entries'];
};

function plannedFor(work: Crossings, context: PathContext): Planned & { readonly current: readonly Passage[] } {
  const { mode, overlay, probeOf, nodes, shares } = work;
  const { own, underlay } = context;
  const key = JSON.stringify([overlay.key, probeOf !== undefined, shares.map((s) => s.traffic)]);
  let known = planned[mode];
  if (known?.underlay !== underlay || known.key !== key) {
    const sums = shares.map((_, i) => new Sum(i));
    known = { underlay, key, passages: new MappedList(), sums, entries: entriesOf() };
    planned[mode] = known;
  }
  // the addresses that nodes are probed by depend on who else there is
  const holds = probeOf && (({ probed }: Passage, node: ClusterNode) => probed === probedAt(work, own, node));
  return { ...known, current: known.passages.map(nodes, (node) => planPassage(work, context, node), holds) };
}

/** Adds nodes by one overlay to the shares that take it. Answers what their tunnels need. */
export function addOverlay(work: Crossings, context: PathContext): Partial<NamespaceState> {
  const { current, sums, entries } = plannedFor(work, context);
  for (const [i, share] of work.shares.entries()) sums[i]!.addTo(share, context, current);
  return Object.fromEntries(Object.entries(entries).map(([kind, list]) => [kind, list.of(current)]));
}

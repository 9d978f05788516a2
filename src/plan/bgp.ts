/**
 * Routes that nodes and routers tell each other by BGP. This plans who talks to whom and what is believed of whom; `bird.ts` makes
 * BIRD's configuration of it, and BIRD puts what it learns into the kernel. Up to `meshLimit` nodes all talk to all. Above, and
 * wherever a node is labelled, nodes talk to route reflectors only.
 *
 * A session carries the family that it runs over: what keeps it alive is the path that its routes use. A node on a shared link is
 * believed its own podCIDRs. A node behind a router is reached through that router, so it is the router that has to say so
 * (a peer of `bgp.peers`), unless `behindRouter: gateway` says that it knows.
 */

import { type Family, families, parseAddress } from '../net/address.ts';
import { aggregate } from '../net/aggregate.ts';
import { hash } from '../net/name.ts';
import { defaultPrefix, formatPrefix, parsePrefix } from '../net/prefix.ts';
import { type BgpSession, type ImportRule, renderBird } from './bird.ts';
import { addressOf, type ClusterNode, type NodeAddress, type PlanProblem, podCidrsOf } from './cluster.ts';
import { type RouteState, routeProtocol } from './host.ts';
import { podFamiliesOf } from './overlay.ts';
import type { PathTarget } from './path-mtu.ts';
import { routedWay } from './routed.ts';
import type { BgpPeerSettings, NodeSettings } from './settings.ts';
import type { HostFacts, Underlay } from './underlay.ts';

/** So many nodes still have a session with each of the others. */
export const meshLimit = 50;
/** So many reflectors are chosen where nobody labelled one: two may be away at a time. */
const chosenReflectors = 3;

/**
 * BIRD's routes in the kernel: its protocol number by the kernel's name, and a metric behind everybody else's to the same prefix (the
 * kernel's own and an admin's in IPv6 have 256 and 1024). A second BIRD on the host has 32, and leaves other metrics alone.
 */
export const birdMetric = 2048;
const isBirds = (r: RouteState): boolean => r.protocol === 'bird' && r.metric === birdMetric;

/** The routes that BIRD has brought, as if they were to be planned. */
export const birdRoutes = ({ routes }: HostFacts): RouteState[] =>
  routes
    .filter(isBirds)
    .map(({ protocol: _bird, metric: _behind, ...route }) => ({ ...route, protocol: routeProtocol }));

/** What of a node BGP has to bring. */
export interface Expected {
  readonly node: string;
  readonly prefixes: readonly string[];
}

export interface BgpPlan {
  /** BIRD's configuration. */
  readonly configuration: string;
  readonly sessions: readonly BgpSession[];
  /** What the kernel has no route of BIRD's to. */
  readonly missing: readonly Expected[];
  /** BIRD has routes in the kernel. */
  readonly hasRoutes: boolean;
}

export interface BgpContext {
  readonly own: ClusterNode;
  /** The nodes to be reached by BGP. */
  readonly nodes: readonly ClusterNode[];
  /** All others, also those reached in another mode. */
  readonly others: readonly ClusterNode[];
  readonly underlay: Underlay;
  readonly settings: NodeSettings;
  readonly facts: HostFacts;
}

/** What one family of the plan is made of. */
interface Share {
  readonly family: Family;
  readonly own: NodeAddress;
  readonly peers: readonly BgpPeerSettings[];
  /** Nodes that are believed themselves, and nodes that a router has to tell of. */
  readonly near: readonly ClusterNode[];
  readonly far: readonly ClusterNode[];
  /** None: full mesh. */
  readonly reflectors: readonly ClusterNode[];
}

export interface BgpResult {
  readonly plan: BgpPlan;
  readonly problems: readonly PlanProblem[];
  /** Nodes that have routes to our pods. */
  readonly unmasked: readonly NodeAddress[];
  readonly mtuBytes: number;
  /** Where to measure it. */
  readonly targets: readonly PathTarget[];
}

const texts = (nodes: readonly ClusterNode[], family: Family): string[] =>
  nodes.flatMap((n) => podCidrsOf(n, family).map((p) => p.text));

/** Everything that lies in these, each with "+". */
const within = (prefixes: readonly string[]): string[] => prefixes.map((p) => `${p}+`);

/** All nodes come to the same answer, and it hardly changes when nodes come and go. */
function reflectorsOf(nodes: readonly ClusterNode[], family: Family): ClusterNode[] {
  const able = nodes.filter((n) => addressOf(n, family));
  const labelled = able.filter((n) => n.routeReflector);
  if (labelled.length > 0 || nodes.length <= meshLimit) return labelled;
  return [...able].sort((a, b) => (a.mac < b.mac ? -1 : 1)).slice(0, chosenReflectors);
}

/** Quoted names of BIRD have at most 64 characters. */
const sessionName = (kind: string, family: Family, peer: string): string => {
  const name = `${kind}${family}-${peer}`;
  return name.length <= 60 ? name : `${name.slice(0, 51)}-${hash(name, 8)}`;
};

/** An identifier must be four bytes and nobody else's; a node without IPv4 gets one from its name. */
export function routerIdOf(node: ClusterNode): string {
  const octets = Buffer.from(hash(`router id\0${node.name}`, 8), 'hex');
  return addressOf(node, 4)?.text ?? [...octets].join('.');
}

function peersOf({ own, others, underlay, settings }: BgpContext, family: Family, problems: PlanProblem[]) {
  return settings.bgp.peers.filter(({ address, site, multihop }) => {
    const parsed = parseAddress(address)!;
    if (parsed.family !== family || (site !== undefined && site !== own.site)) return false;
    const node = [own, ...others].find((n) => addressOf(n, family)?.address.value === parsed.value);
    const way = underlay.wayTo(parsed);
    const text = node
      ? `bgp.peers: ${address} is the node "${node.name}", and nodes talk to each other anyway; leave it out`
      : !way
        ? `bgp.peers: no route of this host leads to ${address}`
        : way.via !== undefined && multihop === undefined
          ? `bgp.peers: ${address} is behind the router ${way.via}; set \`multihop\`, or \`site\` if it is for other nodes`
          : undefined;
    if (text) problems.push({ text });
    return text === undefined;
  });
}

function shareOf(context: BgpContext, family: Family, problems: PlanProblem[]): Share | undefined {
  const { own, nodes, underlay, settings } = context;
  const address = addressOf(own, family);
  if (!address) {
    problems.push({
      text: `node "${own.name}" has no IPv${family} address to speak BGP from; give it one in the cluster file`,
    });
    return undefined;
  }
  const peers = peersOf(context, family, problems);
  const near: ClusterNode[] = [];
  const far: ClusterNode[] = [];
  for (const node of nodes) {
    if (podCidrsOf(node, family).length === 0) continue;
    const way = routedWay(underlay, node, family, settings.behindRouter);
    const its = addressOf(node, family);
    const router = its && underlay.wayTo(its.address)?.via;
    if (!('text' in way)) near.push(node);
    else if (router && peers.length > 0) far.push(node);
    else if (router) problems.push({ node: node.name, text: behind(node.name, its.text, router, family) });
    else problems.push(way);
  }
  return { family, own: address, peers, near, far, reflectors: reflectorsOf([own, ...nodes], family) };
}

const behind = (node: string, address: string, router: string, family: Family): string =>
  `node "${node}" at ${address} is behind the router ${router}, which does not tell us of its IPv${family} podCIDRs; name the router in bgp.peers, or teach it and set behindRouter: gateway`;

function nodeSessions({ own, nodes, settings }: BgpContext, share: Share): BgpSession[] {
  const { family, near, reflectors } = share;
  const isReflector = reflectors.includes(own);
  const able = nodes.filter((n) => addressOf(n, family));
  const partners = isReflector ? able : reflectors.length > 0 ? reflectors : near;
  const { as, bfd, passwordFile } = settings.bgp;
  return partners.map((node): BgpSession => {
    const name = sessionName('node', family, node.name);
    const isOther = reflectors.includes(node);
    const believed = isReflector && isOther ? able : isReflector ? [node] : isOther ? near : [node];
    return {
      name,
      peer: node.name,
      kind: !isReflector ? 'node' : isOther ? 'reflector' : 'client',
      family,
      address: addressOf(node, family)!.text,
      as: node.as ?? as,
      local: { address: share.own.text, as: own.as ?? as },
      multihop: true,
      bfd,
      passwordFile,
      passwordInclude: passwordFile && `${name}.password`,
      imports: [{ verdict: 'accept', set: texts(believed, family) }],
    };
  });
}

/** Nodes of far away, then nothing else of the cluster, then what the settings let in. */
function importsOf({ own, others }: BgpContext, { family, far }: Share, wanted: BgpPeerSettings['import']) {
  const all = aggregate([own, ...others].flatMap((n) => podCidrsOf(n, family).map((p) => p.span)));
  const rules: ImportRule[] = [
    ...(far.length > 0 ? [{ verdict: 'accept', set: texts(far, family) } as const] : []),
    { verdict: 'reject', set: within(all.map(formatPrefix)) },
  ];
  if (wanted === 'all') return [...rules, { verdict: 'accept' } as const];
  const prefixes =
    wanted === 'default'
      ? [formatPrefix(defaultPrefix(family))]
      : wanted === 'none'
        ? []
        : within(wanted.filter((p) => parsePrefix(p)!.address.family === family));
  return prefixes.length === 0 ? rules : [...rules, { verdict: 'accept', set: prefixes } as const];
}

const routerSessions = (context: BgpContext, share: Share): BgpSession[] =>
  share.peers.map((peer) => {
    const name = sessionName('peer', share.family, peer.address);
    return {
      name,
      peer: peer.address,
      kind: 'router',
      family: share.family,
      address: peer.address,
      as: peer.as,
      local: { address: share.own.text, as: context.own.as ?? context.settings.bgp.as },
      multihop: peer.multihop,
      bfd: peer.bfd,
      passwordFile: peer.passwordFile,
      passwordInclude: peer.passwordFile && `${name}.password`,
      imports: importsOf(context, share, peer.import),
    };
  });

function missingOf(shares: readonly Share[], facts: HostFacts): Expected[] {
  const found = new Set(facts.routes.filter(isBirds).map((r) => r.prefix));
  const missing = new Map<string, string[]>();
  for (const { family, near, far } of shares) {
    for (const node of [...near, ...far]) {
      const prefixes = texts([node], family).filter((p) => !found.has(p));
      if (prefixes.length > 0) missing.set(node.name, [...(missing.get(node.name) ?? []), ...prefixes]);
    }
  }
  return [...missing].map(([node, prefixes]) => ({ node, prefixes }));
}

/** The speaker of this node. */
export function planBgp(context: BgpContext): BgpResult {
  const { own, nodes, settings, facts, underlay } = context;
  const problems: PlanProblem[] = [];
  const pods = podFamiliesOf(own);
  // a reflector also passes on what it has no pods of
  const inUse = families.filter((f) => pods.includes(f) || reflectorsOf([own, ...nodes], f).includes(own));
  const shares = inUse.flatMap((f) => shareOf(context, f, problems) ?? []);
  const sessions = shares.flatMap((s) => [...nodeSessions(context, s), ...routerSessions(context, s)]);
  const reached = shares.flatMap((s) =>
    [...s.near, ...s.far].flatMap((node) => {
      const to = addressOf(node, s.family);
      return to ? { node: node.name, to, way: underlay.wayTo(to.address) } : [];
    }),
  );
  const configuration = renderBird({
    metric: birdMetric,
    node: own.name,
    routerId: routerIdOf(own),
    gracefulRestartSeconds: settings.bgp.gracefulRestartSeconds,
    shares: shares.map((s) => ({
      family: s.family,
      pods: podCidrsOf(own, s.family).map((p) => p.text),
      // a reflector holds routes that are not for its own kernel
      own: s.reflectors.includes(own) ? texts(s.near, s.family) : undefined,
    })),
    sessions,
  });
  return {
    plan: {
      configuration,
      sessions,
      missing: missingOf(shares, facts),
      hasRoutes: facts.routes.some(isBirds),
    },
    problems,
    unmasked: reached.map((r) => r.to),
    // the routes are BIRD's and have no MTU of their own: the narrowest path counts for all
    mtuBytes: Math.min(
      ...reached.flatMap(({ to, way }) => (way ? [way.mtuBytes, facts.pathMtus?.get(to.text) ?? way.mtuBytes] : [])),
    ),
    targets: reached.flatMap(({ node, to, way }) =>
      way ? { node, address: to.text, family: to.address.family, mtuBytes: way.mtuBytes } : [],
    ),
  };
}

/**
 * A topology: segments (links between machines), nodes, routers and an outside host, every name and address decided. What the
 * file leaves open is numbered in the order of the file, so the same file always gives the same lab.
 */

import { check } from '../cluster/document.ts';
import { isObject } from '../decode.ts';
import { ConfigError, type Problem } from '../errors.ts';
import { addressAfter, type Family, formatAddress, parseAddress } from '../net/address.ts';
import {
  contains,
  formatPrefix,
  hasHostBits,
  networkAddress,
  overlaps,
  type Prefix,
  parsePrefix,
} from '../net/prefix.ts';
import { type TopologyFile, topologySchema } from './schema.ts';

export interface Segment {
  name: string;
  prefixes: Prefix[];
  mtuBytes: number;
}

/** One interface of a machine on a segment; `addresses` carry the segment's prefix length. */
export interface Port {
  ifname: string;
  segment: string;
  addresses: Prefix[];
}

export type AgentSettings = Readonly<Record<string, unknown>>;

export interface Node {
  name: string;
  ports: Port[];
  podCIDRs: Prefix[];
  /** As in the cluster file, for `betweenSites`. */
  site: string | undefined;
  /** Names of its pods. */
  pods: string[];
  agent: AgentSettings;
}

export interface StaticRoute {
  to: Prefix;
  via: string;
}

export interface Router {
  name: string;
  ports: Port[];
  /** Knows the way to every node's podCIDRs: what a network that carries `routed` mode across a router must have. */
  podRoutes: boolean;
  /** Speaks BGP with the nodes on its segments that are in mode bgp, under this AS number. */
  as: number | undefined;
  routes: StaticRoute[];
}

/** Stands for the internet: knows the way to nodes, nothing of pods. */
export interface Outside {
  name: string;
  ports: Port[];
}

export interface Topology {
  families: Family[];
  segments: Segment[];
  nodes: Node[];
  routers: Router[];
  outside: Outside | undefined;
}

const outsideName = 'outside';
const defaultMtuBytes = 1500;
const defaultPods = 2;

/** Automatic prefixes by number; the outside's segment has the prefixes that RFC 5737 and RFC 3849 set aside for examples. */
const automatic = {
  segment: { 4: (i: number) => `192.168.${i}.0/24`, 6: (i: number) => `fd00:192:168:${i}::/64` },
  outside: { 4: () => '203.0.113.0/24', 6: () => '2001:db8:113::/64' },
  pods: { 4: (i: number) => `10.244.${i}.0/24`, 6: (i: number) => `fd00:10:244:${i}::/64` },
} as const;

const automaticPrefixes = (kind: keyof typeof automatic, families: readonly Family[], i: number): Prefix[] =>
  families.map((family) => parsePrefix(automatic[kind][family](i))!);

/** Host numbers in a segment: routers from 1, nodes from 11, the outside host 80. */
const hostNumber = { router: (i: number) => 1 + i, node: (i: number) => 11 + i, outside: () => 80 };

type Members = TopologyFile['nodes'][string]['segments'];

/** Collects what is wrong while the topology is put together. */
class Builder {
  readonly problems: Problem[] = [];
  readonly #segments: Map<string, Segment>;
  readonly #taken = new Map<string, string>();

  constructor(segments: readonly Segment[]) {
    this.#segments = new Map(segments.map((s) => [s.name, s]));
  }

  wrong(path: string, got: unknown, want: string): void {
    this.problems.push({ path, got: JSON.stringify(got) ?? 'nothing', want });
  }

  ports(path: string, members: Members, host: number): Port[] {
    const entries = Object.entries(members);
    if (entries.length === 0) this.wrong(path, [], 'at least one segment');
    return entries.flatMap(([name, given], i) => {
      const segment = this.#segments.get(name);
      if (!segment) {
        this.wrong(`${path}.${name}`, name, `one of the segments ${[...this.#segments.keys()].join(', ')}`);
        return [];
      }
      const at = `${path}.${name}`;
      const addresses = given ? this.#given(at, segment, given) : this.#automatic(at, segment, host);
      return [{ ifname: `eth${i}`, segment: name, addresses }];
    });
  }

  #given(path: string, segment: Segment, addresses: readonly Prefix[]): Prefix[] {
    for (const a of addresses) {
      const ok = segment.prefixes.some((p) => p.length === a.length && contains(p, a.address));
      if (!ok) this.wrong(path, formatPrefix(a), `an address in ${segment.prefixes.map(formatPrefix).join(' or ')}`);
      else this.#take(path, a);
    }
    return [...addresses];
  }

  #automatic(path: string, segment: Segment, host: number): Prefix[] {
    return segment.prefixes.map((p) => {
      // host number 11 is .11 and ::11: the same digits for people in both families
      const offset = p.address.family === 4 ? BigInt(host) : BigInt(`0x${host}`);
      const address = { address: addressAfter(networkAddress(p), offset), length: p.length };
      if (!contains(p, address.address))
        this.wrong(path, formatPrefix(p), `a prefix with room for host number ${host}, or addresses spelled out`);
      else this.#take(path, address);
      return address;
    });
  }

  #take(path: string, { address }: Prefix): void {
    const text = formatAddress(address);
    const owner = this.#taken.get(text);
    if (owner) this.wrong(path, text, `an address that ${owner} does not have`);
    else this.#taken.set(text, path);
  }

  /** Every name is a namespace: none may be there twice. */
  names(kinds: Record<string, readonly string[]>): void {
    const seen = new Map<string, string>();
    for (const [kind, names] of Object.entries(kinds)) {
      for (const name of names) {
        const other = seen.get(name);
        if (other) this.wrong(`${kind}.${name}`, name, `a name that is not also in ${other}`);
        seen.set(name, kind);
      }
    }
  }

  podCIDRs(nodes: readonly Node[], segments: readonly Segment[]): void {
    const all = nodes.flatMap((n) => n.podCIDRs.map((prefix) => ({ owner: `node ${n.name}`, prefix })));
    const others = segments.flatMap((s) => s.prefixes.map((prefix) => ({ owner: `segment ${s.name}`, prefix })));
    for (const [i, { owner, prefix }] of all.entries()) {
      const path = `${owner.replace('node ', 'nodes.')}.podCIDRs`;
      const clash = [...all.slice(0, i), ...others].find((o) => overlaps(o.prefix, prefix));
      if (clash)
        this.wrong(path, formatPrefix(prefix), `a prefix apart from ${formatPrefix(clash.prefix)} of ${clash.owner}`);
      if (hasHostBits(prefix)) this.wrong(path, formatPrefix(prefix), 'a network: no bits set after the prefix length');
    }
  }
}

function buildSegments(file: TopologyFile, families: readonly Family[]): Segment[] {
  let number = 0;
  return Object.entries(file.segments).map(([name, { prefixes, mtu }]) => ({
    name,
    mtuBytes: mtu ?? defaultMtuBytes,
    prefixes:
      prefixes ??
      (file.outside?.segment === name
        ? automaticPrefixes('outside', families, 0)
        : automaticPrefixes('segment', families, ++number)),
  }));
}

const podNames = (node: string, pods: number | string[] = defaultPods): string[] =>
  typeof pods === 'number' ? Array.from({ length: pods }, (_, i) => `${node}-pod${i + 1}`) : pods;

function build(file: TopologyFile): Topology {
  const families: Family[] = [...new Set<Family>(file.families ?? [4, 6])];
  const segments = buildSegments(file, families);
  const builder = new Builder(segments);
  const nodes = Object.entries(file.nodes).map(
    ([name, n], i): Node => ({
      name,
      ports: builder.ports(`nodes.${name}.segments`, n.segments, hostNumber.node(i)),
      podCIDRs: n.podCIDRs ?? automaticPrefixes('pods', families, i + 1),
      site: n.site,
      pods: podNames(name, n.pods),
      agent: { ...file.agent, ...n.agent },
    }),
  );
  const uses = (mode: string) =>
    nodes.some(({ agent }) => agent['mode'] === mode && agent['betweenSites'] === undefined);
  const routers = Object.entries(file.routers ?? {}).map(
    ([name, r], i): Router => ({
      name,
      ports: builder.ports(`routers.${name}.segments`, r.segments, hostNumber.router(i)),
      podRoutes: r.podRoutes ?? (uses('routed') || (r.as === undefined && uses('bgp'))),
      as: r.as,
      routes: r.routes ?? [],
    }),
  );
  for (const { name, routes } of routers) {
    for (const { via } of routes) {
      if (!parseAddress(via)) builder.wrong(`routers.${name}.routes`, via, 'the address of a next hop');
    }
  }
  const outside = file.outside && {
    name: outsideName,
    ports: builder.ports('outside.segment', { [file.outside.segment]: null }, hostNumber.outside()),
  };
  if (nodes.length === 0) builder.wrong('nodes', {}, 'at least one node');
  builder.names({
    segments: segments.map((s) => s.name),
    nodes: nodes.map((n) => n.name),
    routers: routers.map((r) => r.name),
    outside: outside ? [outsideName] : [],
    pods: nodes.flatMap((n) => n.pods),
  });
  builder.podCIDRs(nodes, segments);
  if (builder.problems.length > 0) throw new ConfigError(builder.problems);
  return { families, segments, nodes, routers, outside };
}

/** The document as if its common agent settings had said so; one that is no mapping stays as it is, to be refused. */
function withSettings(document: unknown, overrides: AgentSettings): unknown {
  if (!isObject(document) || !(document['agent'] === undefined || isObject(document['agent']))) return document;
  return { ...document, agent: { ...document['agent'], ...overrides } };
}

/**
 * A topology document → topology; `overrides` are agent settings that stand above the file's common ones.
 * Throws ConfigError with every wrong field.
 */
export function decodeTopology(document: unknown, overrides: AgentSettings = {}): Topology {
  return build(check(topologySchema, withSettings(document, overrides)));
}

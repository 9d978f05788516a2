/**
 * Topology → what every namespace of the lab holds before an agent starts: wires, addresses, routes, sysctls. Pure.
 * Two machines on a segment share one veth pair; more hang on a bridge in a namespace of the segment's own.
 */

import { type Family, formatAddress, parseAddress } from '../net/address.ts';
import { macFrom } from '../net/mac.ts';
import { isInterfaceName } from '../net/name.ts';
import { contains, formatPrefix, networkOf, type Prefix } from '../net/prefix.ts';
import { emptyState, type NamespaceState, type RouteState, type SysctlState } from '../plan/host.ts';
import type { Node, Outside, Port, Router, Segment, Topology } from './topology.ts';

/** One end of a wire: an interface in the namespace of a machine or segment. */
export interface End {
  host: string;
  ifname: string;
  mac: string;
}

export interface Wire {
  ends: [End, End];
  mtuBytes: number;
}

export interface Wiring {
  /** Machines and segments that are namespaces, pods left out. */
  hosts: string[];
  wires: Wire[];
  /** What the lab itself puts into each of them. */
  states: Map<string, NamespaceState>;
}

type Machine = Node | Router | Outside;

/** The mark of the lab's own routes: `proto static`, an admin's; the agent's have a number of their own. */
export const labRouteProtocol = 'static';

const bridgeName = 'br0';

const machinesOf = (t: Topology): Machine[] => [...t.nodes, ...t.routers, ...(t.outside ? [t.outside] : [])];

const addressOf = (port: Port, family: Family): string | undefined => {
  const found = port.addresses.find((a) => a.address.family === family);
  return found && formatAddress(found.address);
};

/** Where a machine sends what is for a segment that it has no interface on. */
interface NextHop {
  dev: string;
  router: Router;
  /** The router's port on the shared segment. */
  port: Port;
}

/** The first router on the shortest way from a machine to each segment it is not on. */
export function nextHops(machine: Machine, routers: readonly Router[]): Map<string, NextHop> {
  const hops = new Map<string, NextHop>();
  const own = new Set(machine.ports.map((p) => p.segment));
  const seen = new Set<Router>();
  let frontier: { segment: string; hop: NextHop | undefined }[] = machine.ports.map((p) => ({
    segment: p.segment,
    hop: undefined,
  }));
  while (frontier.length > 0) {
    const next: typeof frontier = [];
    for (const { segment, hop } of frontier) {
      for (const router of routers) {
        const port = router.ports.find((p) => p.segment === segment);
        if (!port || router === machine || seen.has(router)) continue;
        seen.add(router);
        const via = hop ?? { dev: machine.ports.find((p) => p.segment === segment)!.ifname, router, port };
        for (const { segment: reached } of router.ports) {
          if (own.has(reached) || hops.has(reached)) continue;
          hops.set(reached, via);
          next.push({ segment: reached, hop: via });
        }
      }
    }
    frontier = next;
  }
  return hops;
}

function routesVia(hop: NextHop, prefixes: readonly Prefix[]): RouteState[] {
  return prefixes.flatMap((p) => {
    const via = addressOf(hop.port, p.address.family);
    if (!via) return [];
    return [{ prefix: formatPrefix(networkOf(p)), dev: hop.dev, via, protocol: labRouteProtocol }];
  });
}

const defaults: Record<Family, string> = { 4: '0.0.0.0/0', 6: '::/0' };

/** A node's default route: towards the outside, or by the first router it meets. */
function defaultRoutes(hops: Map<string, NextHop>, topology: Topology): RouteState[] {
  const hop = (topology.outside && hops.get(topology.outside.ports[0]!.segment)) ?? hops.values().next().value;
  if (!hop) return [];
  return topology.families.flatMap((family) => {
    const via = addressOf(hop.port, family);
    return via ? [{ prefix: defaults[family], dev: hop.dev, via, protocol: labRouteProtocol }] : [];
  });
}

/** A router's routes to one node's pods: straight to the node where they share a segment, else to the next router. */
function podRoutes(router: Router, node: Node, hops: Map<string, NextHop>): RouteState[] {
  for (const port of node.ports) {
    const shared = router.ports.find((p) => p.segment === port.segment);
    if (!shared) continue;
    return node.podCIDRs.flatMap((p) => {
      const via = addressOf(port, p.address.family);
      return via ? [{ prefix: formatPrefix(p), dev: shared.ifname, via, protocol: labRouteProtocol }] : [];
    });
  }
  const hop = node.ports.map((p) => hops.get(p.segment)).find((h) => h !== undefined);
  return hop ? routesVia(hop, node.podCIDRs) : [];
}

/** The interface that a static route's next hop is on. */
function staticRoutes(router: Router, segments: readonly Segment[]): RouteState[] {
  return router.routes.map(({ to, via }) => {
    const address = parseAddress(via)!;
    const port = router.ports.find((p) =>
      segments.find((s) => s.name === p.segment)!.prefixes.some((prefix) => contains(prefix, address)),
    );
    return {
      prefix: formatPrefix(networkOf(to)),
      via,
      protocol: labRouteProtocol,
      ...(port ? { dev: port.ifname } : {}),
    };
  });
}

function routesOf(machine: Machine, topology: Topology): RouteState[] {
  const hops = nextHops(machine, topology.routers);
  const prefixes = new Map(topology.segments.map((s) => [s.name, s.prefixes]));
  const toSegments = [...hops].flatMap(([segment, hop]) => routesVia(hop, prefixes.get(segment)!));
  if (!('podCIDRs' in machine)) {
    if (!('podRoutes' in machine)) return toSegments;
    const toPods = machine.podRoutes ? topology.nodes.flatMap((n) => podRoutes(machine, n, hops)) : [];
    return [...toSegments, ...toPods, ...staticRoutes(machine, topology.segments)];
  }
  const byDefault = defaultRoutes(hops, topology);
  const isCovered = (r: RouteState) => byDefault.some((d) => d.via === r.via && d.dev === r.dev);
  return [...byDefault, ...toSegments.filter((r) => !isCovered(r))];
}

/** Addresses are ours to allocate: no wait for duplicates, nothing learned from advertisements. */
const quiet: SysctlState[] = ['accept_dad', 'accept_ra'].flatMap((key) =>
  ['all', 'default'].map((scope) => ({ key: `net/ipv6/conf/${scope}/${key}`, value: '0', optional: true })),
);

const forwarding: SysctlState[] = [
  { key: 'net/ipv4/ip_forward', value: '1' },
  { key: 'net/ipv6/conf/all/forwarding', value: '1', optional: true },
];

/** A new namespace takes these from the machine; a lab is the same everywhere. 2, "loose", is what systemd sets. */
const reversePathFilter = (value: '0' | '2'): SysctlState[] =>
  ['all', 'default'].map((scope) => ({ key: `net/ipv4/conf/${scope}/rp_filter`, value }));

function stateOf(machine: Machine, topology: Topology): NamespaceState {
  const isRouter = 'podRoutes' in machine;
  return {
    ...emptyState(),
    links: [
      { name: 'lo', make: { kind: 'given' }, up: true },
      ...machine.ports.map((p) => ({ name: p.ifname, make: { kind: 'given' } as const, up: true })),
    ],
    addresses: machine.ports.flatMap((p) => p.addresses.map((a) => ({ dev: p.ifname, address: formatPrefix(a) }))),
    routes: routesOf(machine, topology),
    sysctls: [...quiet, ...reversePathFilter(isRouter ? '0' : '2'), ...(isRouter ? forwarding : [])],
  };
}

/** The port of a segment's bridge that a machine hangs on: the machine's name, where that fits. */
const portName = (machine: string, i: number): string => (isInterfaceName(machine) ? machine : `port${i}`);

function bridgeState(ports: readonly string[]): NamespaceState {
  return {
    ...emptyState(),
    links: [
      { name: bridgeName, make: { kind: 'bridge' }, up: true },
      ...ports.map((name) => ({ name, make: { kind: 'given' } as const, master: bridgeName, up: true })),
    ],
    sysctls: quiet,
  };
}

/** The wiring of a topology; `lab` seeds the Ethernet addresses, so that a namespace made anew has its old ones. */
export function wire(topology: Topology, lab: string): Wiring {
  const machines = machinesOf(topology);
  const states = new Map(machines.map((m) => [m.name, stateOf(m, topology)]));
  const end = (host: string, ifname: string): End => ({ host, ifname, mac: macFrom([lab, host, ifname].join('\0')) });
  const wires: Wire[] = [];
  for (const segment of topology.segments) {
    const members = machines.flatMap((m) =>
      m.ports.filter((p) => p.segment === segment.name).map((p) => end(m.name, p.ifname)),
    );
    if (members.length === 2) {
      wires.push({ ends: [members[0]!, members[1]!], mtuBytes: segment.mtuBytes });
    } else if (members.length > 0) {
      const ports = members.map((m, i) => end(segment.name, portName(m.host, i)));
      states.set(segment.name, bridgeState(ports.map((p) => p.ifname)));
      for (const [i, member] of members.entries())
        wires.push({ ends: [member, ports[i]!], mtuBytes: segment.mtuBytes });
    }
  }
  return { hosts: [...states.keys()], wires, states };
}

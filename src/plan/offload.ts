/**
 * Who can tell whether checksums come out right that our tunnel devices leave to those below. A network card or its driver may
 * know nothing of the packet inside a tunnel: ICMP, whose checksum the kernel makes itself, gets through then, TCP and UDP do not.
 */

import { type ClusterNode, type PlanProblem, podCidrsOf } from './cluster.ts';
import type { NodePlan } from './node.ts';
import { devices, hostText, podFamiliesOf } from './overlay.ts';
import type { HostFacts } from './underlay.ts';

/** Devices that leave checksums to those below; WireGuard makes them itself before it encrypts. */
export const offloadDevices: readonly string[] = [devices.vxlan, devices.ipip, devices.ip6tnl];

/** The end of a tunnel on another node. */
export interface TunnelEnd {
  readonly node: string;
  readonly address: string;
  /** Our own address to ask from; absent: the kernel's choice. */
  readonly source?: string;
}

/** Where a node is asked: in mode auto by the addresses of the way that carries, else by the first of its podCIDRs. */
function endsOf(
  node: ClusterNode,
  ways: ReadonlyMap<string, NodePlan['ways'][number]>,
): (TunnelEnd & { via: string[] })[] {
  const its = ways.get(node.name);
  const probes = its?.candidates.find((c) => c.way === its.carries)?.probes;
  const ends =
    probes ??
    podFamiliesOf(node).map((family) => ({ family, address: podCidrsOf(node, family)[0]!.first, source: undefined }));
  return ends.map(({ family, address, source }) => ({
    node: node.name,
    address,
    ...(source && { source }),
    // a route to the address alone goes before that to the podCIDR
    via: [hostText(address, family), podCidrsOf(node, family)[0]!.text],
  }));
}

/** Whom to ask: so many nodes for each device, `skip` nodes after the one that follows ours in the cluster's order, so that each node asks another. */
export interface Choice {
  readonly skip: number;
  readonly count: number;
}

/** The ends of tunnels that packets to go through each of these devices, one for a node. */
export function tunnelEnds(
  { state, ways, own }: Pick<NodePlan, 'state' | 'ways' | 'own'>,
  nodes: readonly ClusterNode[],
  { skip, count }: Choice,
): Map<string, TunnelEnd[]> {
  const devOf = new Map(state.routes.map((r) => [r.prefix, r.dev]));
  const wayOf = new Map(ways.map((w) => [w.node, w]));
  const chosen = state.links.map((l) => l.name).filter((name) => offloadDevices.includes(name));
  const ends = new Map<string, TunnelEnd[]>(chosen.map((name) => [name, []]));
  const first = nodes.findIndex((n) => n.name === own.name) + 1 + skip;
  for (let i = 0; i < nodes.length && [...ends.values()].some((list) => list.length < count); i++) {
    const node = nodes[(first + i) % nodes.length]!;
    if (node.name === own.name) continue;
    for (const { via, ...end } of endsOf(node, wayOf)) {
      const list = ends.get(devOf.get(via.find((prefix) => devOf.has(prefix)) ?? '') ?? '');
      if (list && list.length < count && list.at(-1)?.node !== node.name) list.push(end);
    }
  }
  return ends;
}

/** Without ethtool nothing can be switched. */
export const ethtoolProblems = ({ txChecksums, hasEthtool }: HostFacts): PlanProblem[] =>
  hasEthtool === false
    ? [
        {
          text: `checksumOffload: the program ethtool, which switches it on ${[...(txChecksums?.keys() ?? [])].join(', ')}, is not installed; install ethtool`,
        },
      ]
    : [];

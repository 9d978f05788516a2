/**
 * The VXLAN overlay, one device for both families. A packet for a pod elsewhere: the route to the podCIDR names the node's VTEP
 * address as next hop on `culvert-vxlan`; a permanent neighbour entry says the VTEP's MAC address, a forwarding entry says which
 * node that is; the device wraps the frame in UDP to that node's address. Learning and flooding are off: all that can be
 * known is in the plan. A VTEP's MAC address is made from its node's name; its addresses are the network addresses of the node's
 * first podCIDRs and, as next hop for IPv6, the link-local address of that MAC. So every side computes them.
 */

import { type Family, families } from '../net/address.ts';
import { addressOf, type ClusterNode, PlanError, podCidrsOf } from './cluster.ts';
import { type NeighbourState, type RouteState, routeProtocol } from './host.ts';
import {
  devices,
  nameInTheWay,
  type Overlay,
  type OverlayContext,
  type ProbeOf,
  planDevice,
  podFamiliesOf,
  prefixesOf,
  type Tunnel,
} from './overlay.ts';
import type { VxlanSettings } from './settings.ts';
import type { HostFacts } from './underlay.ts';

/** Outer Ethernet-in-IP bytes: IPv4 20 or IPv6 40, UDP 8, VXLAN 8, inner Ethernet 14. */
const overheadBytes: Readonly<Record<Family, number>> = { 4: 50, 6: 70 };

/** The family that wraps: IPv4 when every node has it, else IPv6. Throws PlanError when neither reaches all nodes. */
function underlayFamily(nodes: readonly ClusterNode[]): Family {
  const lacking = (family: Family): string[] => nodes.filter((n) => !addressOf(n, family)).map((n) => n.name);
  const family = families.find((f) => lacking(f).length === 0);
  if (family) return family;
  const [no4, no6] = families.map((f) => lacking(f).slice(0, 5).join(', '));
  throw new PlanError(
    `VXLAN needs one address family that every node has: ${no4} without an IPv4 address, ${no6} without an IPv6 address; add addresses of one family to the cluster file`,
  );
}

/** One remote node through the tunnel. */
function planTunnel(node: ClusterNode, pods: readonly Family[], underlay: Family, probeOf?: ProbeOf): Tunnel {
  const dev = devices.vxlan;
  const routes: RouteState[] = [];
  const neighbours: NeighbourState[] = [];
  for (const family of pods) {
    // The kernel refuses an IPv6 next hop that another route, say the one being replaced, leads to by another device, onlink or
    // not; it never asks that of a link-local one. IPv4 has no such question, and no such addresses.
    const hop = family === 4 ? { via: podCidrsOf(node, family)[0]!.first, onlink: true } : { via: node.linkLocal };
    neighbours.push({ dev, address: hop.via, mac: node.mac });
    for (const prefix of prefixesOf(node, family, probeOf))
      routes.push({ prefix, ...hop, dev, protocol: routeProtocol });
  }
  const fdb = [{ dev, mac: node.mac, dst: addressOf(node, underlay)!.text }];
  const wraps = [{ family: underlay, overheadBytes: overheadBytes[underlay] }];
  return { routes, entries: { neighbours, fdb }, wraps, problems: [] };
}

/** Another's device with our id and port, in words. */
function idInTheWay(facts: HostFacts, { id, port }: VxlanSettings): string | undefined {
  const other = facts.links.find(
    ({ name, make }) => name !== devices.vxlan && make.kind === 'vxlan' && make.id === id && make.port === port,
  );
  return (
    other &&
    `link ${other.name} already uses VXLAN id ${id} on UDP port ${port}; delete it (ip link delete dev ${other.name}) or set another vxlan.id or vxlan.port on all nodes`
  );
}

/** Throws PlanError when another's link is in the way, or when no family reaches all nodes. */
export function planVxlan(context: OverlayContext): Overlay {
  const { own, nodes, underlay, settings, facts, probeOf } = context;
  const obstacle = nameInTheWay(facts, own, ['vxlan']) ?? idInTheWay(facts, settings.vxlan);
  if (obstacle) throw new PlanError(obstacle);
  const family = underlayFamily([own, ...nodes]);
  const local = underlay.own.get(family)!;
  return {
    key: `vxlan over IPv${family}`,
    wraps: [{ family, overheadBytes: overheadBytes[family] }],
    answersPods: true,
    ground: (mtu) =>
      planDevice(
        { kind: 'vxlan', ...settings.vxlan, local: local.address, device: local.dev },
        context,
        podFamiliesOf(own),
        { mtu, address: own.mac },
      ),
    tunnel: (node, pods) => planTunnel(node, pods, family, probeOf),
  };
}

/**
 * The VXLAN overlay, one device for both families. A packet for a pod elsewhere: the route to the podCIDR names the node's VTEP
 * address as next hop on `culvert-vxlan`; a permanent neighbour entry says the VTEP's MAC address, a forwarding entry says which
 * node that is; the device wraps the frame in UDP to that node's address. Learning and flooding are off: all that can be
 * known is in the plan. A VTEP's MAC address is made from its node's name; its addresses are the network addresses of the node's
 * first podCIDRs and, as next hop for IPv6, the link-local address of that MAC. So every side computes them.
 */

import { type Family, families } from '../net/address.ts';
import { addressOf, type ClusterNode, type ClusterView, PlanError, podCidrsOf } from './cluster.ts';
import { type FdbState, type NamespaceState, type NeighbourState, type RouteState, routeProtocol } from './host.ts';
import type { HostFacts } from './underlay.ts';

export const vxlanDevice = 'culvert-vxlan';

/** The alias that marks the device as ours. */
export const vxlanAlias = 'culvert:vxlan';

export interface VxlanSettings {
  readonly id: number;
  readonly port: number;
}

/** Outer Ethernet-in-IP bytes: IPv4 20 or IPv6 40, UDP 8, VXLAN 8, inner Ethernet 14. */
export const vxlanOverheadBytes: Readonly<Record<Family, number>> = { 4: 50, 6: 70 };

/** The family that wraps: IPv4 when every node has it, else IPv6. Throws PlanError when neither reaches all nodes. */
export function underlayFamily(view: ClusterView): Family {
  const lacking = (family: Family): string[] => view.nodes.filter((n) => !addressOf(n, family)).map((n) => n.name);
  const family = families.find((f) => lacking(f).length === 0);
  if (family) return family;
  const [no4, no6] = families.map((f) => lacking(f).slice(0, 5).join(', '));
  throw new PlanError(
    `VXLAN needs one address family that every node has: ${no4} without an IPv4 address, ${no6} without an IPv6 address; add addresses of one family to the cluster file`,
  );
}

/** The device itself, our VTEP address on it, and its sysctls. */
export function planVtep(
  own: ClusterNode,
  settings: VxlanSettings,
  local: { readonly address: string; readonly dev: string },
  mtuBytes: number,
  facts: HostFacts,
): Partial<NamespaceState> {
  const firsts = families.flatMap((family) => podCidrsOf(own, family).slice(0, 1));
  const conf = (family: Family, key: string, value: string) => ({
    key: `net/ipv${family}/conf/${vxlanDevice}/${key}`,
    value,
  });
  return {
    links: [
      {
        name: vxlanDevice,
        make: { kind: 'vxlan', ...settings, local: local.address, device: local.dev },
        address: own.mac,
        mtu: mtuBytes,
        // a link-local address would have neighbours looked for where nothing is flooded
        ...(facts.hasIpv6 && { addrGenMode: 'none' as const }),
        alias: vxlanAlias,
        up: true,
      },
    ],
    addresses: firsts.map((p) => ({
      dev: vxlanDevice,
      address: `${p.first}/${p.prefix.address.family === 4 ? 32 : 128}`,
    })),
    sysctls: [
      // a node's answer to a pod may come through the tunnel though its address is out on another interface
      conf(4, 'rp_filter', '2'),
      ...(facts.hasIpv6 ? [conf(6, 'accept_ra', '0')] : []),
    ],
  };
}

export interface TunnelState {
  readonly routes: readonly RouteState[];
  readonly neighbours: readonly NeighbourState[];
  readonly fdb: readonly FdbState[];
}

/** Tunnels planned before: the same objects for a node that has not changed spare 5,000 nodes their comparison. */
const planned = new WeakMap<ClusterNode, { key: string; tunnel: TunnelState }>();

/** One remote node through the tunnel, for the given families of pods. */
export function planTunnel(node: ClusterNode, pods: readonly Family[], underlay: Family): TunnelState {
  const key = `${pods} over ${underlay}`;
  const known = planned.get(node);
  if (known?.key === key) return known.tunnel;
  const routes: RouteState[] = [];
  const neighbours: NeighbourState[] = [];
  for (const family of pods) {
    const podCIDRs = podCidrsOf(node, family);
    // The kernel refuses an IPv6 next hop that another route, say the one being replaced, leads to by another device, onlink or
    // not; it never asks that of a link-local one. IPv4 has no such question, and no such addresses.
    const hop = family === 4 ? { via: podCIDRs[0]!.first, onlink: true } : { via: node.linkLocal };
    neighbours.push({ dev: vxlanDevice, address: hop.via, mac: node.mac });
    for (const p of podCIDRs) {
      routes.push({ prefix: p.text, ...hop, dev: vxlanDevice, protocol: routeProtocol });
    }
  }
  const fdb = pods.length > 0 ? [{ dev: vxlanDevice, mac: node.mac, dst: addressOf(node, underlay)!.text }] : [];
  const tunnel = { routes, neighbours, fdb };
  planned.set(node, { key, tunnel });
  return tunnel;
}

/** Another's link that keeps ours from being made, in words. */
export function linkInTheWay(facts: HostFacts, own: ClusterNode, settings: VxlanSettings): string | undefined {
  for (const link of facts.links) {
    if (link.name === vxlanDevice) {
      if (isOurs(link, own.mac)) continue;
      return `a link named ${vxlanDevice} exists and is not ours (${link.make.kind}, ${link.address ?? 'no address'}); delete or rename it: ip link delete dev ${vxlanDevice}`;
    }
    if (link.make.kind === 'vxlan' && link.make.id === settings.id && link.make.port === settings.port) {
      return `link ${link.name} already uses VXLAN id ${settings.id} on UDP port ${settings.port}; delete it (ip link delete dev ${link.name}) or set another vxlan.id or vxlan.port on all nodes`;
    }
  }
  return undefined;
}

/** By our alias, or, when only that got lost, by the MAC address that nobody else would compute. */
export const isOurs = (link: { make: { kind: string }; alias?: string; address?: string }, mac: string): boolean =>
  link.make.kind === 'vxlan' && (link.alias === vxlanAlias || link.address === mac);

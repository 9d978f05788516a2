/**
 * IP in IP: pods' packets behind nothing but an outer IP header. IPv4 in IPv4 is `culvert-ipip`, whose routes name the node's
 * address as next hop (`via 192.168.1.12 onlink`): the device wraps towards it. In IPv6 it is `culvert-ip6tnl` for both: the kernel
 * refuses an IPv6 next hop that it reaches by another link, so each route says itself what to wrap in (`encap ip6 dst fd01::12`).
 * Pods' packets travel in their own family where both nodes have it; IPv4 else in IPv6. IPv6 in IPv4 is refused: the kernel's
 * device for it, sit, keeps the route to the first node that it sent to and uses it for all others, so that whoever is behind
 * a router is out of reach. Fallback devices that the kernel makes with its modules (tunl0, ip6tnl0) are left alone.
 */

import { type Family, families } from '../net/address.ts';
import { addressOf, type ClusterNode, PlanError, type PlanProblem, podCidrsOf } from './cluster.ts';
import { type LinkKind, mergeStates, type NamespaceState, type RouteState, routeProtocol } from './host.ts';
import {
  type DeviceKind,
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

/** The outer header alone; an `external` ip6tnl adds no encapsulation limit, which would be 8 bytes more. */
const overheadBytes: Readonly<Record<Family, number>> = { 4: 20, 6: 40 };

type IpipKind = Extract<DeviceKind, 'ipip' | 'ip6tnl'>;

const kindOf = (outer: Family): IpipKind => (outer === 6 ? 'ip6tnl' : 'ipip');

/** The family of the outer header: the inner one where all these nodes have it; never IPv6 in IPv4. */
const outerFamily = (inner: Family, ...nodes: ClusterNode[]): Family | undefined =>
  families.filter((f) => f >= inner).find((f) => nodes.every((n) => addressOf(n, f)));

/** What leads from a route to the node, in the words of the device's kind. */
function hop(kind: IpipKind, address: string): Partial<RouteState> {
  switch (kind) {
    case 'ipip':
      return { via: address, onlink: true };
    case 'ip6tnl':
      return { encapDst: address };
    default:
      return kind satisfies never;
  }
}

function planTunnel(own: ClusterNode, node: ClusterNode, pods: readonly Family[], probeOf?: ProbeOf): Tunnel {
  const routes: RouteState[] = [];
  const problems: PlanProblem[] = [];
  const outers = new Set<Family>();
  for (const inner of pods) {
    const outer = outerFamily(inner, own, node);
    if (!outer) {
      const lack = inner === 4 ? 'shares no address family with this node' : 'or this node has no IPv6 address';
      const text = `node "${node.name}" ${lack} to wrap its IPv${inner} podCIDRs in${inner === 6 ? ', and the kernel cannot send IPv6 in IPv4 to many nodes' : ''}; give both one in the cluster file, or use mode vxlan or wireguard`;
      problems.push({ node: node.name, text });
      continue;
    }
    outers.add(outer);
    const kind = kindOf(outer);
    const way = { ...hop(kind, addressOf(node, outer)!.text), dev: devices[kind], protocol: routeProtocol };
    for (const prefix of prefixesOf(node, inner, probeOf)) routes.push({ prefix, ...way });
  }
  const wraps = [...outers].map((family) => ({ family, overheadBytes: overheadBytes[family] }));
  return { routes, entries: {}, wraps, problems };
}

/** Which families of pods each of our devices carries, now or for nodes like ourselves. */
function carried({ own, nodes }: OverlayContext): Map<IpipKind, Set<Family>> {
  const kinds = new Map<IpipKind, Set<Family>>();
  for (const inner of podFamiliesOf(own)) {
    for (const node of [own, ...nodes]) {
      const outer = podCidrsOf(node, inner).length > 0 ? outerFamily(inner, own, node) : undefined;
      if (!outer) continue;
      const kind = kindOf(outer);
      kinds.set(kind, (kinds.get(kind) ?? new Set()).add(inner));
    }
  }
  return kinds;
}

/** Another's device that takes our packets for its own, in words: the kernel has one for a local address, and one `external`. */
function deviceInTheWay({ facts, underlay }: OverlayContext, kinds: Iterable<IpipKind>): string | undefined {
  const wanted = [...kinds].map((kind) => linkKind(kind, underlay.own.get(4)?.address));
  const text = (make: LinkKind): string => JSON.stringify(Object.entries(make).sort());
  const other = facts.links.find(
    ({ name, make }) => !Object.values<string>(devices).includes(name) && wanted.some((w) => text(w) === text(make)),
  );
  return (
    other &&
    `link ${other.name} is a tunnel of kind ${other.make.kind} with the same end as ours, and the kernel has only one such; delete it: ip link delete dev ${other.name}`
  );
}

const linkKind = (kind: IpipKind, local4 = ''): LinkKind & { kind: DeviceKind } =>
  kind === 'ip6tnl' ? { kind, external: true } : { kind, local: local4 };

function planDevices(context: OverlayContext, kinds: Map<IpipKind, Set<Family>>, mtu: number): Partial<NamespaceState> {
  const local4 = context.underlay.own.get(4)?.address;
  return mergeStates(
    ...[...kinds].map(([kind, pods]) => planDevice(linkKind(kind, local4), context, [...pods], { mtu })),
  );
}

/** Throws PlanError when another's link is in the way. */
export function planIpip(context: OverlayContext): Overlay {
  const { own, facts, probeOf } = context;
  const kinds = carried(context);
  const obstacle = nameInTheWay(facts, own, [...kinds.keys()]) ?? deviceInTheWay(context, kinds.keys());
  if (obstacle) throw new PlanError(obstacle);
  const outers = new Set(podFamiliesOf(own).flatMap((inner) => outerFamily(inner, own) ?? []));
  return {
    key: 'ipip',
    wraps: [...outers].map((family) => ({ family, overheadBytes: overheadBytes[family] })),
    answersPods: true,
    ground: (mtuBytes) => planDevices(context, kinds, mtuBytes),
    tunnel: (node, pods) => planTunnel(own, node, pods, probeOf),
  };
}

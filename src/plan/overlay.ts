/**
 * What the modes that wrap have in common: each makes one `Overlay` from the same context. `ground` is what this host holds
 * whoever the others are (devices, addresses, sysctls) and `tunnel` what leads to one node. A tunnel's entries let packets
 * in and out and harm nobody; only its routes send pods' packets through it. So two modes can stand side by side.
 */

import { bitsOf, type Family, families } from '../net/address.ts';
import { type ClusterNode, type PlanProblem, podCidrsOf } from './cluster.ts';
import type { LinkKind, LinkState, NamespaceState, RouteState } from './host.ts';
import type { NodeSettings } from './settings.ts';
import type { HostFacts, Underlay } from './underlay.ts';

export interface OverlayContext {
  readonly own: ClusterNode;
  /** The nodes to be reached in this mode. */
  readonly nodes: readonly ClusterNode[];
  readonly underlay: Underlay;
  readonly settings: NodeSettings;
  readonly facts: HostFacts;
  /** The address by which a node's end of this overlay is probed, where it is one of several. */
  readonly probeOf?: ProbeOf | undefined;
}

/** An address of a node that stands for one overlay alone. */
export type ProbeOf = (node: ClusterNode, family: Family) => string;

/** The prefix of one address. */
export const hostText = (address: string, family: Family): string => `${address}/${bitsOf(family)}`;

/** What is led into the tunnel to a node: its podCIDRs, and the address that it is probed by. */
export const prefixesOf = (node: ClusterNode, family: Family, probeOf: ProbeOf | undefined): string[] => [
  ...podCidrsOf(node, family).map((p) => p.text),
  ...(probeOf ? [hostText(probeOf(node, family), family)] : []),
];

/** Wrapping: the family of the packets on the wire, and the bytes it takes. */
export interface Wrap {
  readonly family: Family;
  readonly overheadBytes: number;
}

export interface Tunnel {
  readonly routes: readonly RouteState[];
  /** What has to be there before the routes: neighbours, forwarding entries, peers. */
  readonly entries: Partial<NamespaceState>;
  readonly wraps: readonly Wrap[];
  /** Why some of it cannot be had. */
  readonly problems: readonly PlanProblem[];
}

export interface Overlay {
  /** All that its tunnels rest on beside the two nodes, and the addresses that they are probed by. */
  readonly key: string;
  /** How packets towards nodes that are not there yet would be wrapped: the MTU of pods does not change when the first appears. */
  readonly wraps: readonly Wrap[];
  /** A node answers a pod of ours that it saw under the pod's own address, outside the tunnel, through the tunnel. */
  readonly answersPods: boolean;
  /** Devices for pods' packets of this many bytes. */
  ground(mtuBytes: number): Partial<NamespaceState>;
  /** For these families of pods. */
  tunnel(node: ClusterNode, pods: readonly Family[]): Tunnel;
}

/** The names of our tunnel devices, by kind of link. */
export const devices = {
  vxlan: 'culvert-vxlan',
  ipip: 'culvert-ipip',
  ip6tnl: 'culvert-ip6tnl',
  wireguard: 'culvert-wg',
} as const;

export type DeviceKind = keyof typeof devices;

export const deviceNames: readonly string[] = Object.values(devices);

/** The alias that marks a device of ours: culvert-vxlan carries "culvert:vxlan". */
const aliasOf = (name: string): string => name.replace('-', ':');

type FoundDevice = { name: string; make: { kind: string }; alias?: string; address?: string };

/**
 * Whether a link of one of our names is ours: by our alias or, when that got lost, VXLAN by the MAC address that nobody else would
 * compute, the others by carrying no alias at all.
 */
export function isOurs({ name, make, alias, address }: FoundDevice, mac: string): boolean {
  const kind = (Object.keys(devices) as DeviceKind[]).find((k) => devices[k] === name);
  if (kind === undefined || make.kind !== kind) return false;
  return alias === aliasOf(name) || (kind === 'vxlan' ? address === mac : alias === undefined);
}

/** Another's link under a name of ours, in words. */
export function nameInTheWay(facts: HostFacts, own: ClusterNode, kinds: readonly DeviceKind[]): string | undefined {
  const names = kinds.map((kind): string => devices[kind]);
  const other = facts.links.find((l) => names.includes(l.name) && !isOurs(l, own.mac));
  return (
    other &&
    `a link named ${other.name} exists and is not ours (${other.make.kind}, ${other.address ?? 'no address'}); delete or rename it: ip link delete dev ${other.name}`
  );
}

/** A tunnel device as all of them are: our mark, no addresses but those planned, and answers that may come another way. */
export function planDevice(
  make: LinkKind & { kind: DeviceKind },
  { own, facts, probeOf }: Pick<OverlayContext, 'own' | 'facts' | 'probeOf'>,
  pods: readonly Family[],
  link: Partial<LinkState> & { mtu: number },
): Partial<NamespaceState> {
  const name = devices[make.kind];
  const txChecksum = facts.hasEthtool ? facts.txChecksums?.get(name) : undefined;
  const conf = (family: Family, key: string, value: string) => ({ key: `net/ipv${family}/conf/${name}/${key}`, value });
  return {
    links: [
      {
        name,
        make,
        ...link,
        // a link-local address would have neighbours looked for where nothing is flooded
        ...(facts.hasIpv6 && { addrGenMode: 'none' as const }),
        alias: aliasOf(name),
        ...(txChecksum !== undefined && { txChecksum }),
        up: true,
      },
    ],
    // ours to answer from when we talk to pods: the first address of our podCIDR, which no pod gets
    addresses: pods.flatMap((family) =>
      [podCidrsOf(own, family)[0]!.first, ...(probeOf ? [probeOf(own, family)] : [])].map((address) => ({
        dev: name,
        address: hostText(address, family),
      })),
    ),
    sysctls: [
      // a node's answer to a pod may come through the tunnel though its address is out on another interface
      conf(4, 'rp_filter', '2'),
      ...(facts.hasIpv6 ? [conf(6, 'accept_ra', '0')] : []),
    ],
  };
}

const podFamilies = new WeakMap<ClusterNode, readonly Family[]>();

/** Families of pods that a node has: of nodes that have the same ones, the same list. */
export function podFamiliesOf(node: ClusterNode): readonly Family[] {
  let known = podFamilies.get(node);
  if (!known) {
    known = familyLists.find((list) => families.every((f) => list.includes(f) === podCidrsOf(node, f).length > 0))!;
    podFamilies.set(node, known);
  }
  return known;
}

const familyLists: readonly (readonly Family[])[] = [families, [4], [6], []];

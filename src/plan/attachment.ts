/**
 * One pod's share of the kernel: its end of the veth pair with addresses and routes, and the host's end as a port of a bridge.
 * Pure; `plugins/bridge.ts` and the cluster plugin apply, check and remove what is planned here.
 */

import { type Address, type Family, formatAddress } from '../net/address.ts';
import { defaultPrefix, formatPrefix, isDefault, networkOf, type Prefix } from '../net/prefix.ts';
import type { Route } from '../net/route.ts';
import type { LinkState, NamespaceState, RouteState, SysctlState, VlanState } from './host.ts';

export interface PodShare {
  ifname: string;
  addresses: readonly Prefix[];
  routes: readonly Route[];
  /** The next hop of routes that name none. */
  gateways: ReadonlyMap<Family, Address>;
  /** Let the kernel look for duplicates of the addresses (bridge's `enabledad`). */
  duplicateAddressDetection: boolean;
}

const hasFamily = (addresses: readonly Prefix[], family: Family): boolean =>
  addresses.some((a) => a.address.family === family);

/** The pod's sysctls: no wait for duplicates, a gratuitous ARP when it comes up, and IPv6 on where it has such an address. */
function podSysctls({ ifname, addresses, duplicateAddressDetection: dad }: PodShare): SysctlState[] {
  const sysctls: SysctlState[] = [
    { key: `net/ipv6/conf/${ifname}/accept_dad`, value: dad ? '1' : '0', optional: true },
    { key: `net/ipv4/conf/${ifname}/arp_notify`, value: '1', optional: true },
  ];
  if (dad) sysctls.push({ key: `net/ipv6/conf/${ifname}/enhanced_dad`, value: '1', optional: true });
  if (!hasFamily(addresses, 6)) return sysctls;
  return [
    ...sysctls,
    { key: 'net/ipv6/conf/lo/disable_ipv6', value: '0', optional: true },
    { key: `net/ipv6/conf/${ifname}/disable_ipv6`, value: '0', optional: true },
    // the address outlives the link being taken down and up again
    { key: `net/ipv6/conf/${ifname}/keep_addr_on_down`, value: '1', optional: true },
  ];
}

const scopes: Record<number, string> = { 0: 'global', 253: 'link', 254: 'host' };

function podRoute(route: Route, share: PodShare): RouteState {
  const scope = route.scope === undefined ? undefined : (scopes[route.scope] ?? String(route.scope));
  // the kernel takes no next hop for what is said to be on the link itself
  const direct = scope === 'link' || scope === 'host';
  const gateway = route.gw ?? (direct ? undefined : share.gateways.get(route.dst.address.family));
  return {
    prefix: formatPrefix(networkOf(route.dst)),
    dev: share.ifname,
    ...(gateway ? { via: formatAddress(gateway) } : {}),
    ...(scope === undefined || scope === 'global' ? {} : { scope }),
    ...(route.priority ? { metric: route.priority } : {}),
    ...(route.table === undefined || route.table === 254 || route.table === 0 ? {} : { table: route.table }),
    ...(route.mtu ? { mtuBytes: route.mtu } : {}),
    ...(route.advmss ? { advmssBytes: route.advmss } : {}),
  };
}

/** What the container's namespace should hold of the attachment. */
export function planPod(share: PodShare): Partial<NamespaceState> {
  return {
    links: [{ name: share.ifname, make: { kind: 'given' }, up: true }],
    sysctls: podSysctls(share),
    addresses: share.addresses.map((a) => ({ dev: share.ifname, address: formatPrefix(a) })),
    routes: share.routes.map((r) => podRoute(r, share)),
  };
}

/** The routes with a default one added for each family that has a gateway and none yet. */
export function withDefaultRoutes(routes: readonly Route[], gateways: ReadonlyMap<Family, Address>): Route[] {
  const missing = [...gateways].filter(
    ([family]) => !routes.some((r) => isDefault(r.dst) && r.dst.address.family === family),
  );
  return [...routes, ...missing.map(([family, gw]) => ({ dst: defaultPrefix(family), gw }))];
}

export interface VethPair {
  host: string;
  hostMac: string;
  pod: string;
  podMac: string;
  /** Path of the container's namespace as ip can take it. */
  netns: string;
  mtu?: number | undefined;
  /** The mark of ownership. */
  label: string;
}

/** The host's end of the pair; making it makes the pod's end too. */
export function planVeth(pair: VethPair): LinkState {
  const mtu = pair.mtu ? { mtu: pair.mtu } : {};
  return {
    name: pair.host,
    make: { kind: 'veth', peer: { name: pair.pod, address: pair.podMac, netns: pair.netns, ...mtu } },
    address: pair.hostMac,
    alias: pair.label,
    up: true,
    ...mtu,
  };
}

export interface PortVlans {
  /** The untagged VLAN of the port; 0: none. */
  vlan: number;
  /** Tagged VLANs. */
  trunk: readonly number[];
  preserveDefault: boolean;
}

/** VLANs of a port. With a trunk and no VLAN of its own, untagged frames belong to VLAN 1, as ever on bridges. */
export function planPortVlans(dev: string, { vlan, trunk, preserveDefault }: PortVlans): VlanState[] {
  if (vlan === 0 && trunk.length === 0) return [];
  const own = vlan !== 0 ? vlan : 1;
  const vlans = new Map<number, VlanState>();
  if (preserveDefault) vlans.set(1, { dev, vid: 1, pvid: own === 1, untagged: true });
  for (const vid of trunk) vlans.set(vid, { dev, vid, pvid: false, untagged: false });
  vlans.set(own, { dev, vid: own, pvid: true, untagged: true });
  return [...vlans.values()];
}

/** net.ipv4.ip_forward and its IPv6 twin, for the families that the host forwards. */
export function planForwarding(used: Iterable<Family>): SysctlState[] {
  const keys: Record<Family, string> = { 4: 'net/ipv4/ip_forward', 6: 'net/ipv6/conf/all/forwarding' };
  return [...new Set(used)].map((family) => ({ key: keys[family], value: '1' }));
}

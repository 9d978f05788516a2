/** The bridge that pods hang on: link, gateway addresses, and what may stand in their way. */

import { type Address, addressAfter, type Family } from '../net/address.ts';
import { contains, equalPrefix, formatPrefix, networkAddress, overlaps, type Prefix } from '../net/prefix.ts';
import type { LinkState, NamespaceState } from './host.ts';

export interface BridgeShare {
  name: string;
  /** Its own address; a bridge without one would take its lowest port's and change it as ports come and go. */
  mac: string;
  mtu?: number | undefined;
  promisc: boolean;
  vlanFiltering: boolean;
  /** Addresses of the host on it. */
  gateways: readonly Prefix[];
}

/** A bridge that is there keeps its MAC, MTU and filtering: others may use it. */
export function planBridge(share: BridgeShare, found: LinkState | undefined): Partial<NamespaceState> {
  const mtu = found?.mtu ?? share.mtu;
  const link: LinkState = {
    name: share.name,
    make: { kind: 'bridge', ...(share.vlanFiltering ? { vlanFiltering: true } : {}) },
    address: found?.address ?? share.mac,
    up: true,
    ...(mtu ? { mtu } : {}),
    ...(share.promisc ? { promisc: true } : {}),
  };
  return {
    links: [link],
    addresses: share.gateways.map((g) => ({ dev: share.name, address: formatPrefix(g) })),
    sysctls: [
      // the host owns its routes: what pods advertise does not count
      { key: `net/ipv6/conf/${share.name}/accept_ra`, value: '0', optional: true },
      // until its link-local address is settled the host could not ask for a pod's MAC: a second or two for the first pod
      { key: `net/ipv6/conf/${share.name}/accept_dad`, value: '0', optional: true },
    ],
  };
}

/** The address a prefix's gateway has unless IPAM named one: the first of the network. */
export const firstAddress = (prefix: Prefix): Address => addressAfter(networkAddress(prefix), 1n);

/** The gateways as addresses of the host, with their prefix lengths, each once. */
export function gatewayPrefixes(ips: readonly { address: Prefix; gateway?: Address }[]): Prefix[] {
  const byText = new Map<string, Prefix>();
  for (const { address, gateway } of ips) {
    if (!gateway) continue;
    const prefix = { address: gateway, length: address.length };
    byText.set(formatPrefix(prefix), prefix);
  }
  return [...byText.values()];
}

/** The first gateway of each family: the next hop of routes that name none. */
export function gatewaysByFamily(ips: readonly { gateway?: Address }[]): Map<Family, Address> {
  const gateways = new Map<Family, Address>();
  for (const { gateway } of ips) if (gateway && !gateways.has(gateway.family)) gateways.set(gateway.family, gateway);
  return gateways;
}

/**
 * The addresses that stand in a gateway's way: on IPv4 any other one, on IPv6 one whose prefix overlaps (several are normal
 * there). Our own gateways never do.
 */
export function conflictingAddresses(existing: readonly Prefix[], gateways: readonly Prefix[]): Prefix[] {
  return existing.filter((old) => {
    if (gateways.some((g) => equalPrefix(g, old))) return false;
    return gateways.some((g) => {
      if (g.address.family !== old.address.family) return false;
      return g.address.family === 4 || overlaps(g, old) || contains(old, g.address);
    });
  });
}

/** "10.1.0.1/16, fd00::1/64" for messages. */
export const listOf = (prefixes: readonly Prefix[]): string => prefixes.map(formatPrefix).join(', ');

/**
 * The routed attachment (`attach: ptp`): a veth pair without a bridge. The pod has a host prefix (/32, /128) and sends everything
 * to a link-local next hop that nobody owns; permanent neighbour entries on both ends stand for ARP and neighbour discovery, so
 * the first packet leaves at once and nothing can go stale. The host routes the pod's address to its end of the pair.
 *
 *   pod eth0 10.244.1.5/32 ── default via 169.254.1.1 ── veth1a2b3c4d ── host: 10.244.1.5 dev veth1a2b3c4d
 */

import { type Address, type Family, formatAddress, parseAddress } from '../net/address.ts';
import { defaultPrefix, formatPrefix, hostPrefix } from '../net/prefix.ts';
import type { NamespaceState } from './host.ts';

/** The next hop of every pod: link-local (RFC 3927, RFC 4291), so that it can collide with no network. */
export const nextHop: Record<Family, Address> = { 4: parseAddress('169.254.1.1')!, 6: parseAddress('fe80::1')! };

export interface PtpShare {
  ifname: string;
  addresses: readonly Address[];
  /** The host's end. */
  host: string;
  hostMac: string;
  podMac: string;
  /** The node's own addresses: what the pod sees as the source of the node's packets. */
  nodeAddresses: readonly Address[];
}

/** The container's routes, neighbours and addresses beside what every pod gets. */
export function planPtpPod({ ifname, addresses, hostMac }: PtpShare): Partial<NamespaceState> {
  const families = [...new Set(addresses.map((a) => a.family))];
  return {
    addresses: addresses.map((a) => ({ dev: ifname, address: formatPrefix(hostPrefix(a)) })),
    neighbours: families.map((f) => ({ dev: ifname, address: formatAddress(nextHop[f]), mac: hostMac })),
    routes: families.map((f) => ({
      prefix: formatPrefix(defaultPrefix(f)),
      via: formatAddress(nextHop[f]),
      dev: ifname,
      onlink: true,
    })),
  };
}

/** The host's routes and neighbours for the pod; they go with its end of the pair. */
export function planPtpHost({ addresses, host, podMac, nodeAddresses }: PtpShare): Partial<NamespaceState> {
  return {
    neighbours: addresses.map((a) => ({ dev: host, address: formatAddress(a), mac: podMac })),
    routes: addresses.map((a) => {
      const source = nodeAddresses.find((n) => n.family === a.family);
      return {
        prefix: formatPrefix(hostPrefix(a)),
        dev: host,
        ...(a.family === 4 ? { scope: 'link' } : {}),
        ...(source ? { src: formatAddress(source) } : {}),
      };
    }),
    // what a pod advertises does not become the host's route
    sysctls: [{ key: `net/ipv6/conf/${host}/accept_ra`, value: '0', optional: true }],
  };
}

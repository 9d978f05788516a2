/** An interface in a VRF: a link that its members' routes have a table of their own by. Pure. */

import { isGlobalUnicast, parseAddress } from '../net/address.ts';
import type { AddressState, LinkState, NamespaceState, RouteState } from './host.ts';

export interface VrfShare {
  vrf: string;
  table: number;
  ifname: string;
  /** The interface's addresses and routes in the main table before it enters. */
  addresses: readonly AddressState[];
  routes: readonly RouteState[];
}

/** The kernel's own tables (default, main, local), and 0, which is none. */
const reserved = [0, 253, 254, 255];

/** The lowest table that no VRF and no route uses. */
export function freeTable(links: readonly LinkState[], routes: readonly RouteState[]): number {
  const ofVrfs = links.flatMap((l) => (l.make.kind === 'vrf' ? [l.make.table] : []));
  const used = new Set([...reserved, ...ofVrfs, ...routes.flatMap((r) => r.table ?? [])]);
  let table = 1;
  while (used.has(table)) table++;
  return table;
}

const isGlobalIpv6 = ({ address }: AddressState): boolean => {
  const own = parseAddress(address.split('/')[0] ?? '');
  return own?.family === 6 && isGlobalUnicast(own);
};

/**
 * The interface loses its IPv6 addresses and all routes as it enters; the kernel gives back the networks of the addresses only.
 * What is straight on the link comes first: next hops are reached by it.
 */
export function planVrf({ vrf, table, ifname, addresses, routes }: VrfShare): Partial<NamespaceState> {
  const kept = routes.filter((r) => r.protocol !== 'kernel').map((r) => ({ ...r, table }));
  return {
    links: [
      { name: vrf, make: { kind: 'vrf', table }, up: true },
      { name: ifname, make: { kind: 'given' }, master: vrf },
    ],
    addresses: addresses.filter(isGlobalIpv6),
    routes: [...kept.filter((r) => r.via === undefined), ...kept.filter((r) => r.via !== undefined)],
  };
}

/**
 * Routing by source address: each address of an interface has a table of its own with the interface's routes, and a rule that
 * leads what is sent from it there. The main table is left to the other interfaces. Pure.
 */

import { type Address, type Family, formatAddress, parseAddress } from '../net/address.ts';
import {
  contains,
  defaultPrefix,
  formatPrefix,
  hostPrefix,
  networkOf,
  type Prefix,
  parsePrefix,
} from '../net/prefix.ts';
import type { NamespaceState, RouteState, RuleState } from './host.ts';

export interface SourceAddress {
  address: Prefix;
  gateway?: Address;
}

export interface SourceRoutingShare {
  ifname: string;
  ips: readonly SourceAddress[];
  /** Gateways that come before those of the addresses. */
  gateways: ReadonlyMap<Family, Address>;
  /** The interface's routes in the main table. */
  routes: readonly RouteState[];
  /** One for each address. */
  tables: readonly number[];
  /** Keep the networks of the addresses in the main table, the address as source of what names none. */
  addSourceHints: boolean;
}

/** The first table that is chosen. */
const firstTable = 100;

/** The lowest tables that nobody uses. */
export function freeTables(count: number, used: ReadonlySet<number>): number[] {
  const free: number[] = [];
  for (let table = firstTable; free.length < count; table++) if (!used.has(table)) free.push(table);
  return free;
}

export const sourceRule = ({ address }: SourceAddress, table: number): RuleState => ({
  from: formatPrefix(hostPrefix(address.address)),
  table,
});

const familyOf = (route: RouteState): Family | undefined => parsePrefix(route.prefix)?.address.family;

/** Nodes on a link find each other by it: it stays where it is. */
const isLinkLocal = (route: RouteState): boolean => route.prefix === 'fe80::/64';

/** The address's own routes: those by its network, and those that are nobody's in particular. */
function isFor({ address }: SourceAddress, route: RouteState): boolean {
  if (familyOf(route) !== address.address.family) return false;
  const holds = (text: string | undefined): boolean => {
    const own = text === undefined ? undefined : parseAddress(text);
    return own !== undefined && contains(address, own);
  };
  return holds(route.src) || holds(route.via) || (route.src === undefined && route.via === undefined);
}

/** The default route by the address's gateway: the plugin before may have left it out. */
export function defaultRoute(
  { ifname, gateways }: Pick<SourceRoutingShare, 'ifname' | 'gateways'>,
  { address: { address }, gateway }: SourceAddress,
  table: number,
): RouteState[] {
  const via = gateways.get(address.family) ?? gateway;
  if (!via) return [];
  return [{ prefix: formatPrefix(defaultPrefix(address.family)), via: formatAddress(via), dev: ifname, table }];
}

function tableRoutes(share: SourceRoutingShare, ip: SourceAddress, table: number): RouteState[] {
  const copies = share.routes.filter((r) => isFor(ip, r)).map((r) => ({ ...r, table }));
  const all = [...defaultRoute(share, ip, table), ...copies];
  return [...new Map(all.map((r) => [`${r.prefix} ${r.metric}`, r])).values()];
}

function mainRoutes({ ifname, ips, routes, addSourceHints }: SourceRoutingShare): RouteState[] {
  const linkLocal = routes.filter(isLinkLocal);
  if (!addSourceHints) return linkLocal;
  const hints = ips.map(({ address }): RouteState => {
    const scope = address.address.family === 4 ? { scope: 'link' } : {};
    return { prefix: formatPrefix(networkOf(address)), dev: ifname, src: formatAddress(address.address), ...scope };
  });
  return [...linkLocal, ...routes.filter((r) => r.scope === 'link'), ...hints];
}

/** What the container should have of rules, and of the interface's routes in the main table and the addresses' own. */
export function planSourceRouting(share: SourceRoutingShare): Partial<NamespaceState> {
  const own = share.ips.map((ip, i) => ({ ip, table: share.tables[i] ?? firstTable }));
  return {
    rules: own.map(({ ip, table }) => sourceRule(ip, table)),
    routes: [...own.flatMap(({ ip, table }) => tableRoutes(share, ip, table)), ...mainRoutes(share)],
  };
}

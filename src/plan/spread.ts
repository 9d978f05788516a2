/**
 * Linux keeps the next hops of all IPv4 routes in a hash table whose key is the route's protocol, scope, metric and device, but not the
 * next hop's address (fib_info_hashfn_1 in net/ipv4/fib_semantics.c): those of all our routes over one device are one chain, walked
 * to its end for each new route. 5,000 of them take five times as long as they would. So large clusters' routes get different scopes:
 * the numbers below "site" have no names, and are all wider than what they lead to. `ip route replace` takes no notice of them.
 */

import { MappedList } from '../mapped-list.ts';
import type { RouteState } from './host.ts';

/** Chains as long as this are walked in no time. */
const fewRoutes = 500;
/** 1 to 199; 0 is "global", 200 "site". */
const scopes = 199;

function withScope(route: RouteState): RouteState {
  if (route.via === undefined || route.via.includes(':') || route.scope !== undefined) return route;
  let hash = 0;
  for (const char of route.prefix) hash = (hash * 31 + char.charCodeAt(0)) % 1_000_003;
  return { ...route, scope: String(1 + (hash % scopes)) };
}

/** Given a scope before: a route that has not changed stays the same object. */
const scoped = new MappedList<RouteState, RouteState>();

/** The routes, each with a scope that its prefix decides where there are many; where there are few, any scope is right. */
export const spread = (routes: readonly RouteState[]): RouteState[] => [
  ...(routes.length > fewRoutes ? scoped.map(routes, withScope) : routes),
];

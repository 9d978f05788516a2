/** Reads the host for the agent: what the planner has to know, and what is ours. All listings at once, one process each. */

import { addressesOf, fdbOf, linksOf, neighboursOf, routesOf, wireguardOf } from '../apply/read.ts';
import { CommandError } from '../errors.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { normalise } from '../nftables/ruleset.ts';
import { clusterTable } from '../plan/cluster-table.ts';
import { flowtableCheck, flowtableTable } from '../plan/flowtable.ts';
import { emptyState, type NamespaceState, type RouteState, routeProtocol, type TableState } from '../plan/host.ts';
import { deviceNames, devices, isOurs } from '../plan/overlay.ts';
import type { HostFacts } from '../plan/underlay.ts';
import { markOf } from '../store/keys.ts';

/** All that was read. */
export interface FoundHost {
  readonly facts: HostFacts;
  /** What may be ours: routes by protocol number, entries on our devices, our tables' texts by name. */
  readonly routes: readonly RouteState[];
  readonly neighbours: NamespaceState['neighbours'];
  readonly fdb: NamespaceState['fdb'];
  readonly wireguards: NamespaceState['wireguards'];
  readonly peers: NamespaceState['peers'];
  readonly tables: ReadonlyMap<string, string>;
}

/** What is not there is no error: the answer is `none`. */
async function orNone<T>(reading: Promise<T>, none: T): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof CommandError && error.reason === 'not-found') return none;
    throw error;
  }
}

/** Pods' routes on this node have our number too, but neither a next hop nor a tunnel: they are the plugins'. */
const isPath = (r: RouteState): boolean =>
  r.protocol === routeProtocol && (r.via !== undefined || (r.dev !== undefined && deviceNames.includes(r.dev)));

/** The agent's nft tables. */
const tableNames: readonly string[] = [clusterTable, flowtableTable];

export const readTable = (kernel: Kernel, name: string): Promise<string | undefined> =>
  orNone(kernel.showNft(['list', 'table', 'inet', name]), undefined);

async function readTables(kernel: Kernel): Promise<Map<string, string>> {
  const found = await Promise.all(tableNames.map(async (name) => [name, await readTable(kernel, name)] as const));
  return new Map(found.filter((f): f is [string, string] => f[1] !== undefined));
}

/** Modules that it needs are loaded by asking. */
async function hasFlowtable(kernel: Kernel): Promise<boolean> {
  try {
    await kernel.showNft(['-c', flowtableCheck]);
    return true;
  } catch (error) {
    if (error instanceof CommandError && error.reason !== 'no-program') return false;
    throw error;
  }
}

/** The kernel goes by the greater of the two (ip-sysctl.rst). */
function isStrict(kernel: Kernel, dev: string): boolean {
  const [all, own] = ['all', dev].map((name) => Number(kernel.readSysctl(`net/ipv4/conf/${name}/rp_filter`) ?? 0));
  return Math.max(all ?? 0, own ?? 0) === 1;
}

/** `wireguard`: look at its peers too, which takes the program wg; `flowtable`: whether the kernel has such. */
export async function readHost(
  kernel: Kernel,
  { wireguard, flowtable }: { wireguard: boolean; flowtable: boolean },
): Promise<FoundHost> {
  const hasIpv6 = kernel.readSysctl('net/ipv6/conf/all/forwarding') !== undefined;
  const [shown, shown6, fdb, dump, tables] = await Promise.all([
    kernel.show(['link show', 'addr show', 'neigh show nud permanent', 'route show']),
    hasIpv6 ? kernel.show(['route show'], undefined, 6) : [],
    orNone(kernel.showBridge(['fdb', 'show', 'dev', devices.vxlan]), []),
    wireguard ? orNone(kernel.showWireguard(devices.wireguard), '') : '',
    readTables(kernel),
  ]);
  const [links = [], addresses = [], neighbours = [], routes4 = []] = shown;
  const [routes6 = []] = shown6;
  const routes = [...routesOf(routes4), ...routesOf(routes6)];
  const advertised = routes.flatMap((r) => (r.protocol === 'ra' && r.dev ? [r.dev] : []));
  return {
    facts: {
      links: linksOf(links),
      addresses: addressesOf(addresses),
      routes: routes.filter((r) => r.protocol !== routeProtocol),
      hasIpv6,
      ...(flowtable && { hasFlowtable: tables.has(flowtableTable) || (await hasFlowtable(kernel)) }),
      strict: [...new Set(addressesOf(addresses).map((a) => a.dev))].filter((dev) => isStrict(kernel, dev)),
      advertised: [...new Set(advertised)].filter((dev) =>
        ['1', '2'].includes(kernel.readSysctl(`net/ipv6/conf/${dev}/accept_ra`) ?? ''),
      ),
    },
    routes: routes.filter(isPath),
    neighbours: neighboursOf(neighbours).filter((n) => n.dev === devices.vxlan),
    fdb: fdbOf(fdb).map((f) => ({ ...f, dev: devices.vxlan })),
    ...(dump === '' ? { wireguards: [], peers: [] } : wireguardOf(devices.wireguard, dump, markOf)),
    tables,
  };
}

/** How nft prints a table in another way than it was given, as another version of nft may. */
export interface Printing {
  readonly asked: string;
  readonly shown: string;
  /** It has done so twice: after one application somebody may have changed the table before it was read. */
  readonly isSure: boolean;
}

/** By the table's name. */
export type Printed = Map<string, Printing>;

function foundTables(
  found: ReadonlyMap<string, string>,
  wanted: readonly TableState[],
  printed: Printed,
): TableState[] {
  return [...found].map(([name, text]) => {
    const asked = wanted.find((t) => t.name === name)?.text;
    if (asked === undefined) return { family: 'inet', name, text };
    const shown = normalise(text);
    const printing = printed.get(name);
    const isKnown = printing?.isSure === true && printing.asked === asked && printing.shown === shown;
    return { family: 'inet', name, text: isKnown || shown === normalise(asked) ? asked : text };
  });
}

/** Of what was found, that which carries our mark: the state that a diff may take away from. */
export function ownedState(
  found: FoundHost,
  wanted: NamespaceState,
  mac: string,
  kernel: Kernel,
  printed: Printed,
): NamespaceState {
  const links = found.facts.links.filter((l) => isOurs(l, mac));
  const onOurs = ({ dev }: { dev: string }): boolean => links.some((l) => l.name === dev);
  return {
    ...emptyState(),
    links,
    routes: [...found.routes],
    addresses: found.facts.addresses.filter(onOurs),
    neighbours: found.neighbours.filter(onOurs),
    fdb: found.fdb.filter(onOurs),
    wireguards: found.wireguards.filter(onOurs),
    peers: found.peers.filter(onOurs),
    sysctls: wanted.sysctls.flatMap(({ key }) => {
      const value = kernel.readSysctl(key);
      return value === undefined ? [] : [{ key, value }];
    }),
    tables: foundTables(found.tables, wanted.tables, printed),
  };
}

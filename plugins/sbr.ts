/**
 * sbr: routing by source. What is sent from an address of the interface goes by that interface's routes, in a table of its own,
 * so that a container with several interfaces answers on the one that it was asked on. It stands behind the plugin that makes
 * the interface and passes that one's result on. Drop-in for the reference plugin of the same name.
 */

import { apply } from '../src/apply/apply.ts';
import { differences } from '../src/apply/check.ts';
import { addressesOf, routesOf, rulesOf } from '../src/apply/read.ts';
import { UndoStack } from '../src/apply/undo.ts';
import { readPrevResult, readValidAttachments, requirePrevResult } from '../src/cni/conf.ts';
import { driftError } from '../src/cni/error.ts';
import { type Plugin, requireNetns } from '../src/cni/skel.ts';
import type { IpConfig, Request, Result } from '../src/cni/types.ts';
import { show } from '../src/decode.ts';
import { ConfigError, type Problem } from '../src/errors.ts';
import type { Kernel } from '../src/kernel/kernel.ts';
import { aloneIn } from '../src/kernel/lock.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { netnsState } from '../src/kernel/netns.ts';
import { formatPrefix, hostPrefix, parsePrefix } from '../src/net/prefix.ts';
import { diff } from '../src/plan/diff.ts';
import { emptyState, mergeStates, type NamespaceState, type RuleState } from '../src/plan/host.ts';
import { defaultRoute, freeTables, planSourceRouting, sourceRule } from '../src/plan/source-routing.ts';
import { decodeSbrConf, type SbrConf } from './sbr/conf.ts';

/** The interface's addresses; one that names no interface counts as its. */
const ipsOf = (previous: Result, ifname: string): IpConfig[] =>
  previous.ips.filter((ip) => {
    const name = ip.interface === undefined ? undefined : previous.interfaces[ip.interface]?.name;
    return name === undefined || name === ifname;
  });

/** Rules, addresses and routes of the container, of all tables and both families. */
async function read(kernel: Kernel, netns: string): Promise<NamespaceState> {
  const [[addresses = [], routes = [], rules = []], [rules6 = []]] = await Promise.all([
    kernel.show(['addr show', 'route show table all', 'rule show'], netns),
    kernel.show(['rule show'], netns, 6),
  ]);
  return {
    ...emptyState(),
    addresses: addressesOf(addresses),
    routes: routesOf(routes),
    rules: [...rulesOf(rules), ...rulesOf(rules6)],
  };
}

/** What is the interface's: its routes in the main table and these, and rules from its addresses into these. */
function shareOf(found: NamespaceState, ifname: string, rules: readonly RuleState[]): NamespaceState {
  const tables = new Set<number | undefined>([undefined, ...rules.map((r) => r.table)]);
  const isOwn = (rule: RuleState) => rules.some((r) => r.from === rule.from && r.table === rule.table);
  return mergeStates({
    routes: found.routes.filter((r) => r.dev === ifname && tables.has(r.table)),
    rules: found.rules.filter(isOwn),
  });
}

function wantedOf(conf: SbrConf, ifname: string, ips: readonly IpConfig[], found: NamespaceState): NamespaceState {
  const main = shareOf(found, ifname, []);
  const { table } = conf;
  // the table is somebody else's to fill: the routes stay where they are
  if (table !== undefined) return mergeStates(main, { rules: ips.map((ip) => sourceRule(ip, table)) });
  const used = [...found.rules, ...found.routes].flatMap((item) => item.table ?? []);
  const tables = freeTables(ips.length, new Set(used));
  return mergeStates(planSourceRouting({ ifname, ips, routes: main.routes, tables, ...conf }));
}

async function add(request: Request, machine: Machine): Promise<Result> {
  const notes: string[] = [];
  const conf = decodeSbrConf(request, notes);
  for (const note of notes) machine.warn(`sbr: ${note}`);
  const previous = requirePrevResult(request);
  requireNetns(request);
  const { ifname, netns } = request;
  const { kernel } = machine;
  if (previous.ips.length === 0) {
    throw new ConfigError([{ path: 'prevResult.ips', got: 'nothing', want: `the addresses of ${show(ifname)}` }]);
  }
  await aloneIn(netns, async () => {
    await using undo = new UndoStack(machine);
    const found = await read(kernel, netns);
    const wanted = wantedOf(conf, ifname, ipsOf(previous, ifname), found);
    const before = shareOf(found, ifname, []);
    undo.push(async () => {
      const now = shareOf(await read(kernel, netns), ifname, wanted.rules);
      await apply(diff(now, before), kernel, netns);
    });
    await apply(diff(before, wanted), kernel, netns);
    undo.commit();
  });
  return previous;
}

/** The interface's addresses as far as they are still known: those it has, and those that it was given. */
function sourcesOf(request: Request, found: NamespaceState, machine: Machine): Set<string> {
  const has = found.addresses.filter((a) => a.dev === request.ifname).flatMap((a) => parsePrefix(a.address) ?? []);
  let given: IpConfig[] = [];
  try {
    const previous = readPrevResult(request.conf, request.cniVersion);
    given = previous ? ipsOf(previous, request.ifname) : [];
  } catch (error) {
    machine.warn(`sbr: prevResult is left aside: ${(error as Error).message}`);
  }
  return new Set([...has, ...given.map((ip) => ip.address)].map((p) => formatPrefix(hostPrefix(p.address))));
}

/** Removes the rules and, but for a table that is somebody else's, what is in their tables. */
async function del(request: Request, machine: Machine): Promise<void> {
  const { netns, ifname, conf } = request;
  if (netnsState(netns) !== 'namespace') return;
  const found = await read(machine.kernel, netns);
  const sources = sourcesOf(request, found, machine);
  const table = typeof conf['table'] === 'number' ? conf['table'] : undefined;
  const rules = found.rules.filter((r) => sources.has(r.from) && (table === undefined || r.table === table));
  const isInOwnTable = (r: { table?: number }) => r.table !== undefined && r.table !== table;
  const share = shareOf(found, ifname, rules);
  const gone = { ...share, routes: share.routes.filter(isInOwnTable) };
  await apply(diff(gone, emptyState()), machine.kernel, netns);
}

async function check(request: Request, { kernel }: Machine): Promise<void> {
  const conf = decodeSbrConf(request);
  const previous = requirePrevResult(request);
  requireNetns(request);
  const { ifname, netns } = request;
  const found = await read(kernel, netns);
  const problems = ipsOf(previous, ifname).flatMap((ip): Problem[] => {
    const { from } = sourceRule(ip, 0);
    const rules = found.rules.filter((r) => r.from === from);
    const rule = conf.table === undefined ? rules[0] : rules.find((r) => r.table === conf.table);
    if (!rule)
      return [{ path: `rule from ${from}`, got: show(rules[0]?.table), want: `table ${conf.table ?? 'its own'}` }];
    if (conf.table !== undefined) return [];
    return differences(found, mergeStates({ routes: defaultRoute({ ifname, ...conf }, ip, rule.table) }));
  });
  if (problems.length > 0) throw driftError(problems);
}

/** Everything it makes is the container's and ends with it: there is nothing to collect. */
export const sbr: Plugin<Machine> = {
  name: 'sbr',
  chained: true,
  about: 'routes what an interface sends by the address that it is sent from',
  decode: decodeSbrConf,
  add,
  del,
  check,
  async gc(request) {
    readValidAttachments(request.conf);
  },
  async status(request) {
    decodeSbrConf(request);
  },
};

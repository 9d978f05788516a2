/**
 * vrf: puts the container's interface into a VRF, made with the first interface and removed with the last. It stands behind the
 * plugin that makes the interface and passes that one's result on. Drop-in for the reference plugin of the same name.
 */

import { apply } from '../src/apply/apply.ts';
import { differences, type Found, kindProblems, readAll } from '../src/apply/check.ts';
import { linksOf } from '../src/apply/read.ts';
import { UndoStack } from '../src/apply/undo.ts';
import { protocolKeys, readValidAttachments, requirePrevResult } from '../src/cni/conf.ts';
import { driftError } from '../src/cni/error.ts';
import { type Plugin, requireNetns } from '../src/cni/skel.ts';
import type { Request, Result } from '../src/cni/types.ts';
import { Fields, show } from '../src/decode.ts';
import { ConfigError } from '../src/errors.ts';
import { aloneIn } from '../src/kernel/lock.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { netnsState } from '../src/kernel/netns.ts';
import { interfaceNameRule, isInterfaceName } from '../src/net/name.ts';
import { diff } from '../src/plan/diff.ts';
import { emptyState, type LinkState, mergeStates, type NamespaceState } from '../src/plan/host.ts';
import { freeTable, planVrf } from '../src/plan/vrf.ts';

export interface VrfConf {
  vrfname: string;
  /** Absent: a free one. */
  table: number | undefined;
}

/** Throws ConfigError with every wrong field; `notes` takes remarks on keys. */
export function decodeVrfConf(request: Pick<Request, 'conf'>, notes: string[] = []): VrfConf {
  return Fields.read(
    request.conf,
    '',
    (f) => {
      f.ignore(...protocolKeys);
      const vrfname = f.string('vrfname') ?? '';
      if (!isInterfaceName(vrfname)) f.wrong('vrfname', `the VRF's name, ${interfaceNameRule}`);
      return { vrfname, table: f.integer('table', 0, 0xffff_ffff) || undefined };
    },
    notes,
  );
}

/** The table of the VRF, which is there or will be. Throws ConfigError for one that cannot be entered. */
function tableOf(conf: VrfConf, ifname: string, { links, state }: Found): number {
  const own = links.find((l) => l.name === ifname);
  const vrf = links.find((l) => l.name === conf.vrfname);
  const wrong = (path: string, got: string, want: string) => new ConfigError([{ path, got, want }]);
  if (!own) throw wrong('CNI_IFNAME', show(ifname), 'a link of the container');
  if (own.master && own.master !== conf.vrfname) {
    throw wrong('CNI_IFNAME', `${show(ifname)}, which belongs to ${show(own.master)}`, 'a link that belongs to none');
  }
  if (!vrf) return conf.table ?? freeTable(links, state.routes);
  if (vrf.make.kind !== 'vrf') throw wrong('vrfname', `${show(vrf.name)}, which is no VRF`, 'a VRF or a free name');
  const { table } = vrf.make;
  if (conf.table !== undefined && conf.table !== table) {
    throw wrong('table', show(conf.table), `${table}, the table that VRF ${show(vrf.name)} has`);
  }
  return table;
}

/** The interface, the VRF, and what the interface has in the main table. */
function shareOf({ links, state }: Found, ifname: string, vrf: string): NamespaceState {
  return mergeStates({
    links: links.filter((l) => l.name === ifname || l.name === vrf),
    addresses: state.addresses.filter((a) => a.dev === ifname),
    routes: state.routes.filter((r) => r.dev === ifname && r.table === undefined),
  });
}

async function add(request: Request, machine: Machine): Promise<Result> {
  const notes: string[] = [];
  const conf = decodeVrfConf(request, notes);
  for (const note of notes) machine.warn(`vrf: ${note}`);
  const previous = requirePrevResult(request);
  requireNetns(request);
  const { ifname, netns } = request;
  const { kernel } = machine;
  await aloneIn(netns, async () => {
    await using undo = new UndoStack(machine);
    const found = await readAll(kernel, netns);
    const table = tableOf(conf, ifname, found);
    const before = shareOf(found, ifname, conf.vrfname);
    const { addresses, routes } = before;
    undo.push(async () => {
      const free = before.links.map((l): LinkState => ({ master: '', ...l, make: { kind: 'given' } }));
      const now = shareOf(await readAll(kernel, netns), ifname, conf.vrfname);
      await apply(diff(now, { ...before, links: free }), kernel, netns);
    });
    const wanted = mergeStates(planVrf({ vrf: conf.vrfname, table, ifname, addresses, routes }));
    await apply(diff({ ...emptyState(), links: before.links }, wanted), kernel, netns);
    undo.commit();
  });
  return previous;
}

/** The interface leaves; the VRF goes with its last. Which it is, the interface tells where the configuration does not. */
async function del({ ifname, netns, conf }: Request, { kernel }: Machine): Promise<void> {
  if (netnsState(netns) !== 'namespace') return;
  await aloneIn(netns, async () => {
    const [shown = []] = await kernel.show(['link show'], netns);
    const links = linksOf(shown);
    const own = links.find((l) => l.name === ifname);
    const name = typeof conf['vrfname'] === 'string' ? conf['vrfname'] : own?.master;
    const vrf = links.find((l) => l.name === name && l.make.kind === 'vrf');
    if (!vrf) return;
    const isLast = links.every((l) => l.master !== vrf.name || l === own);
    const isMember = own?.master === vrf.name;
    const actual = { ...emptyState(), links: [...(isMember ? [own] : []), ...(isLast ? [vrf] : [])] };
    const free: LinkState[] = isMember ? [{ name: ifname, make: { kind: 'given' }, master: '' }] : [];
    await apply(diff(actual, { ...emptyState(), links: free }), kernel, netns);
  });
}

async function check(request: Request, { kernel }: Machine): Promise<void> {
  const { vrfname, table } = decodeVrfConf(request);
  requirePrevResult(request);
  requireNetns(request);
  const { links, state } = await readAll(kernel, request.netns);
  const vrf = links.find((l) => l.name === vrfname);
  const problems = kindProblems(links, [
    { name: vrfname, make: { kind: 'vrf', table: table ?? (vrf?.make.kind === 'vrf' ? vrf.make.table : 0) } },
  ]);
  if (!vrf) problems.push({ path: `link ${vrfname}`, got: 'nothing', want: 'a vrf link' });
  const wanted: LinkState[] = [{ name: request.ifname, make: { kind: 'given' }, master: vrfname }];
  problems.push(...differences(state, mergeStates({ links: wanted })));
  if (problems.length > 0) throw driftError(problems);
}

/** Everything it makes is the container's and ends with it: there is nothing to collect. */
export const vrf: Plugin<Machine> = {
  name: 'vrf',
  chained: true,
  about: 'puts an interface of the container into a VRF',
  decode: decodeVrfConf,
  add,
  del,
  check,
  async gc(request) {
    readValidAttachments(request.conf);
  },
  async status(request) {
    decodeVrfConf(request);
  },
};

/**
 * bandwidth: holds a container's traffic to a rate, to it (ingress) and from it (egress), but for subnets if wanted. Chained
 * behind a plugin that made a veth pair; drop-in for the reference plugin of the same name. `src/plan/bandwidth.ts` has the
 * packets' way.
 */

import { apply } from '../src/apply/apply.ts';
import { addShaping, removeShaping, shapingProblems, sweepShaping } from '../src/apply/bandwidth.ts';
import { differences } from '../src/apply/check.ts';
import { failedWith } from '../src/apply/nft.ts';
import { linksOf } from '../src/apply/read.ts';
import { UndoStack } from '../src/apply/undo.ts';
import { readValidAttachments, requirePrevResult } from '../src/cni/conf.ts';
import { driftError } from '../src/cni/error.ts';
import { type Plugin, requireNetns } from '../src/cni/skel.ts';
import type { Request, Result } from '../src/cni/types.ts';
import { isObject } from '../src/decode.ts';
import { linkNames } from '../src/kernel/ifaddrs.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { type Bandwidth, directions, isShaped, planBandwidth } from '../src/plan/bandwidth.ts';
import { diff } from '../src/plan/diff.ts';
import { emptyState, mergeStates } from '../src/plan/host.ts';
import { referenceIfb, shapedLinks } from './attachment/bandwidth.ts';
import { previousOf } from './attachment/previous.ts';
import { decodeBandwidthConf } from './bandwidth/conf.ts';
import { hostEnd, hostEndLeft } from './bandwidth/host-end.ts';

async function planFor(request: Request, bandwidth: Bandwidth, previous: Result, machine: Machine) {
  requireNetns(request);
  const host = await hostEnd(request, previous, machine.kernel);
  const links = shapedLinks(request, host, previous.interfaces.find((i) => i.name === host)?.mtu);
  return { on: links, ...planBandwidth(bandwidth, links) };
}

async function add(request: Request, machine: Machine): Promise<Result> {
  const { kernel } = machine;
  const notes: string[] = [];
  const bandwidth = decodeBandwidthConf(request, notes);
  for (const note of notes) machine.warn(`bandwidth: ${note}`);
  const previous = requirePrevResult(request);
  if (!isShaped(bandwidth)) return previous;
  kernel.standBy(['ip', 'tc']);
  const { on, links, objects } = await planFor(request, bandwidth, previous, machine);
  await using undo = new UndoStack(machine);
  const changes = diff(emptyState(), mergeStates({ links }));
  undo.push(() => removeShaping(kernel, on, true));
  try {
    await apply(changes, kernel);
  } catch (error) {
    // an earlier ADD of the same attachment
    if (!failedWith(error, 'exists')) throw error;
    await removeShaping(kernel, on, true);
    await apply(changes, kernel);
  }
  await addShaping(kernel, objects);
  undo.commit();
  return { ...previous, interfaces: [...previous.interfaces, ...links.map((l) => ({ name: l.name, mac: on.mac }))] };
}

/** Whether something was asked for, in a configuration that need not be right any more. */
const wasAsked = ({ conf }: Request): boolean =>
  [conf, isObject(conf['runtimeConfig']) ? conf['runtimeConfig']['bandwidth'] : undefined].some(
    (keys) => isObject(keys) && directions.some((d) => keys[`${d}Rate`]),
  );

/** Whatever is gone is fine. A container that is not shaped costs no program. */
async function del(request: Request, machine: Machine): Promise<void> {
  const { kernel } = machine;
  const host = hostEndLeft(request, previousOf(request, machine), kernel);
  // of a container that the reference plugin shaped
  const others = linkNames().filter((name) => /^bwp[0-9a-f]{12}$/.test(name));
  const foreign = others.length > 0 ? others.filter((name) => name === referenceIfb(request)) : [];
  await removeShaping(kernel, shapedLinks(request, host), wasAsked(request), foreign);
}

async function check(request: Request, machine: Machine): Promise<void> {
  const { kernel } = machine;
  const bandwidth = decodeBandwidthConf(request);
  const previous = requirePrevResult(request);
  if (!isShaped(bandwidth)) return;
  const { on, links, objects } = await planFor(request, bandwidth, previous, machine);
  const [[shown = []], problems] = await Promise.all([
    links.length > 0 ? kernel.show(['link show type ifb']) : [],
    shapingProblems(kernel, on.host, objects),
  ]);
  const found = linksOf(shown);
  const missing = differences({ ...emptyState(), links: found }, mergeStates({ links }));
  if (missing.length + problems.length > 0) throw driftError([...missing, ...problems]);
}

/** Removes what shapes attachments that are not in the list any more. */
async function gc(request: Request, { kernel }: Machine): Promise<void> {
  const valid = readValidAttachments(request.conf).map((v) => ({ network: request.name, ...v }));
  await sweepShaping(kernel, request.name, valid);
}

async function status(request: Request): Promise<void> {
  decodeBandwidthConf(request);
}

export const bandwidth: Plugin<Machine> = {
  name: 'bandwidth',
  about: 'holds the traffic of a container to a rate',
  chained: true,
  decode: decodeBandwidthConf,
  add,
  del,
  check,
  gc,
  status,
};

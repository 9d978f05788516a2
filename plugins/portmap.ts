/**
 * portmap: ports of the host lead to ports of the container (`runtimeConfig.portMappings`, Docker's `-p`, Kubernetes' hostPort).
 * Chained behind a plugin that made the interface; drop-in for the reference plugin of the same name.
 *
 *   client ── 192.0.2.1:8080 ── dnat ── 10.22.0.5:80 in the container
 */

import { forgetPortmap } from '../src/apply/other-suite.ts';
import { removePortmap, sweepPortmap } from '../src/apply/portmap.ts';
import { settle } from '../src/apply/settle.ts';
import { readValidAttachments, requirePrevResult } from '../src/cni/conf.ts';
import { driftError } from '../src/cni/error.ts';
import type { Plugin } from '../src/cni/skel.ts';
import type { Request, Result } from '../src/cni/types.ts';
import type { Kernel } from '../src/kernel/kernel.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { type Address, formatAddress } from '../src/net/address.ts';
import { attachmentMark, isInterfaceName, labelKeeper } from '../src/net/name.ts';
import { asksForPorts, beginPortmap, portmapProblems, portmapPrograms, routeLocalnet } from './attachment/portmap.ts';
import { foreignResult } from './attachment/previous.ts';
import { idOf } from './attachment/veth.ts';
import { decodePortmapConf, portmapOf } from './portmap/conf.ts';

/** The links on the host that lead to the container: those that earlier plugins made, or the one that the host's route names. */
async function linksTo(kernel: Kernel, previous: Result, container: Address): Promise<string[]> {
  const made = previous.interfaces.filter((i) => !i.sandbox).map((i) => i.name);
  if (made.length > 0) return made.filter(isInterfaceName);
  const [routes = []] = await kernel.show([`route get ${formatAddress(container)}`]).catch(() => []);
  return routes.flatMap((route) => (route as { dev?: string }).dev ?? []).filter(isInterfaceName);
}

async function add(request: Request, machine: Machine): Promise<Result> {
  const notes: string[] = [];
  const conf = decodePortmapConf(request, notes);
  for (const note of notes) machine.warn(`portmap: ${note}`);
  const previous = requirePrevResult(request);
  const portmap = portmapOf(conf, previous, request.ifname);
  if (portmap.forwards.length === 0) return previous;
  const container = portmap.masquerade.find((p) => p.address.family === 4);
  if (container) routeLocalnet(machine.kernel, await linksTo(machine.kernel, previous, container.address));
  await beginPortmap(request, machine, portmap);
  return previous;
}

/** By the mark alone: neither the mappings nor the result need be known any more. */
async function del(request: Request, machine: Machine): Promise<void> {
  if (asksForPorts(request)) machine.kernel.standBy(portmapPrograms);
  const id = idOf(request);
  const isForeign = foreignResult(request, machine) !== undefined;
  await settle([removePortmap(machine, attachmentMark(id)), isForeign ? forgetPortmap(machine.exec, id) : undefined]);
}

async function check(request: Request, { kernel }: Machine): Promise<void> {
  const conf = decodePortmapConf(request);
  const portmap = portmapOf(conf, requirePrevResult(request), request.ifname);
  const problems = await portmapProblems(request, kernel, portmap);
  if (problems.length > 0) throw driftError(problems);
}

/** Frees the host ports of attachments that are not in the list any more. */
async function gc(request: Request, machine: Machine): Promise<void> {
  await sweepPortmap(machine, labelKeeper(request.name, readValidAttachments(request.conf)));
}

async function status(request: Request): Promise<void> {
  decodePortmapConf(request);
}

export const portmap: Plugin<Machine> = {
  name: 'portmap',
  about: 'forwards ports of the host to a container',
  chained: true,
  decode: decodePortmapConf,
  add,
  del,
  check,
  gc,
  status,
};

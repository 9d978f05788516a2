/**
 * portmap: ports of the host lead to ports of the container (`runtimeConfig.portMappings`, Docker's `-p`, Kubernetes' hostPort).
 * Chained behind a plugin that made the interface; drop-in for the reference plugin of the same name.
 *
 *   client ── 192.0.2.1:8080 ── dnat ── 10.22.0.5:80 in the container
 */

import { forgetConnections } from '../src/apply/conntrack.ts';
import { addPortmap, formatKey, missingPortmap, removePortmap, sweepPortmap } from '../src/apply/portmap.ts';
import { readValidAttachments, requirePrevResult } from '../src/cni/conf.ts';
import { driftError } from '../src/cni/error.ts';
import type { Plugin } from '../src/cni/skel.ts';
import type { Request, Result } from '../src/cni/types.ts';
import { show } from '../src/decode.ts';
import type { Kernel } from '../src/kernel/kernel.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { formatAddress } from '../src/net/address.ts';
import { attachmentLabel, attachmentMark, isInterfaceName, labelKeeper } from '../src/net/name.ts';
import { isForward, type Portmap } from '../src/plan/portmap.ts';
import { idOf } from './attachment/veth.ts';
import { decodePortmapConf, portmapOf } from './portmap/conf.ts';

/**
 * Lets connections from 127.0.0.1 cross to the container: by the links that earlier plugins made on the host, or by the link
 * that the host's route to the container names.
 */
async function routeLocalnet(kernel: Kernel, previous: Result, { masquerade }: Portmap): Promise<void> {
  const container = masquerade.find((p) => p.address.family === 4);
  if (!container) return;
  let names = previous.interfaces.filter((i) => !i.sandbox).map((i) => i.name);
  if (names.length === 0) {
    const [routes = []] = await kernel.show([`route get ${formatAddress(container.address)}`]).catch(() => []);
    names = routes.flatMap((route) => (route as { dev?: string }).dev ?? []);
  }
  for (const name of names.filter(isInterfaceName)) {
    kernel.writeSysctl({ key: `net/ipv4/conf/${name}/route_localnet`, value: '1', optional: true });
  }
}

async function add(request: Request, machine: Machine): Promise<Result> {
  const notes: string[] = [];
  const conf = decodePortmapConf(request, notes);
  for (const note of notes) machine.warn(`portmap: ${note}`);
  const previous = requirePrevResult(request);
  const portmap = portmapOf(conf, previous, request.ifname);
  if (portmap.forwards.length === 0) return previous;
  await routeLocalnet(machine.kernel, previous, portmap);
  const id = idOf(request);
  await addPortmap(machine.kernel, portmap, attachmentLabel(id), attachmentMark(id));
  // a client that kept asking while nobody answered has a flow without a translation by now
  const udp = portmap.forwards.filter((f) => f.protocol === 'udp');
  await forgetConnections(
    machine,
    udp.map((f) => ({
      family: f.to.family,
      protocol: f.protocol,
      port: f.hostPort,
      to: f.host && formatAddress(f.host),
    })),
  );
  return previous;
}

/** By the mark alone: neither the mappings nor the result need be known any more. */
const del = (request: Request, machine: Machine): Promise<void> =>
  removePortmap(machine, attachmentMark(idOf(request)));

async function check(request: Request, { kernel }: Machine): Promise<void> {
  const conf = decodePortmapConf(request);
  const portmap = portmapOf(conf, requirePrevResult(request), request.ifname);
  if (portmap.forwards.length === 0) return;
  const id = idOf(request);
  const missing = await missingPortmap(kernel, portmap, attachmentMark(id));
  if (missing.length === 0) return;
  throw driftError(
    missing.map(({ want, got }) => ({
      path: isForward(want) ? `mapping of host port ${formatKey(want.key)}` : `masquerade of ${want.key}`,
      got: got ? show(`${got.value}, ${got.comment}`) : 'nothing',
      want: show(`${want.value}, ${attachmentLabel(id)}`),
    })),
  );
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

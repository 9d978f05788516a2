/** loopback: brings `lo` up in the container. containerd executes it for every pod, so it is one process and no more. */

import { addressesOf, linksOf } from '../src/apply/read.ts';
import { protocolKeys, readPrevResult } from '../src/cni/conf.ts';
import { code } from '../src/cni/error.ts';
import { type Plugin, requireNetns } from '../src/cni/skel.ts';
import type { Request, Result } from '../src/cni/types.ts';
import { Fields } from '../src/decode.ts';
import { CniError } from '../src/errors.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { netnsState } from '../src/kernel/netns.ts';
import { parsePrefix } from '../src/net/prefix.ts';

/** The interface is `lo` whatever CNI_IFNAME says. */
const name = 'lo';

/** It has no keys of its own. */
const decode = (request: Request, notes: string[] = []): void =>
  Fields.read(request.conf, '', (f) => f.ignore(...protocolKeys, 'ipam', 'dns'), notes);

async function add(request: Request, machine: Machine): Promise<Result> {
  const notes: string[] = [];
  decode(request, notes);
  for (const note of notes) machine.warn(`loopback: ${note}`);
  const previous = readPrevResult(request.conf, request.cniVersion);
  requireNetns(request);
  const [shown = []] = await machine.kernel.show([`link set dev ${name} up`, `addr show dev ${name}`], request.netns);
  if (previous) return previous;
  const ips = addressesOf(shown).flatMap((a) => {
    const address = parsePrefix(a.address);
    return address ? [{ address, interface: 0 }] : [];
  });
  const mac = linksOf(shown)[0]?.address ?? '00:00:00:00:00:00';
  return { interfaces: [{ name, mac, sandbox: request.netns }], ips, routes: [], dns: {} };
}

async function del(request: Request, machine: Machine): Promise<void> {
  if (request.netns === '' || netnsState(request.netns) !== 'namespace') return;
  await machine.kernel.ip([`link set dev ${name} down`], request.netns);
}

async function check(request: Request, machine: Machine): Promise<void> {
  requireNetns(request);
  const [shown = []] = await machine.kernel.show([`addr show dev ${name}`], request.netns);
  if (linksOf(shown)[0]?.up) return;
  throw new CniError(
    code.drift,
    'loopback interface is down',
    JSON.stringify([{ path: `link ${name}`, got: 'down', want: 'up' }]),
  );
}

/** Holds nothing outside the container: there is nothing to collect and nothing that could be unavailable. */
export const loopback: Plugin<Machine> = {
  name: 'loopback',
  about: 'brings the loopback interface of a container up',
  decode,
  add,
  del,
  check,
  async gc() {},
  async status() {},
};

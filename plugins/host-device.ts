/**
 * host-device: lends a link of the host to the container, and takes it home again with the name and the alias that it had.
 * Drop-in for the reference plugin of the same name: its keys, its result, its label on the device.
 */

import { apply } from '../src/apply/apply.ts';
import { readLink } from '../src/apply/check.ts';
import { type FoundLink, linksOf } from '../src/apply/read.ts';
import type { UndoStack } from '../src/apply/undo.ts';
import { batchPath } from '../src/apply/veth.ts';
import type { Request } from '../src/cni/types.ts';
import { show } from '../src/decode.ts';
import { CommandError, ConfigError } from '../src/errors.ts';
import type { Kernel } from '../src/kernel/kernel.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { netnsState } from '../src/kernel/netns.ts';
import type { Change } from '../src/plan/diff.ts';
import { devicePlugin } from './attachment/device.ts';
import { decodeHostDeviceConf, type HostDeviceConf, keyOf, type Selector } from './host-device/conf.ts';
import { findDevice, findReturned, type Home, homeOf, hostLinks, lent, returned } from './host-device/find.ts';

/** The host's namespace, named so that a program inside the container's can find it. */
const hostNetns = (): string => `/proc/${process.pid}/ns/net`;

/** Leaves the container, takes its old name and loses our label: one request to the kernel, so that nothing can come in between. */
const takeHome = (name: string, home: Home, group: string | undefined): Change => ({
  op: 'move-link',
  name,
  to: { ...returned(home, group), netns: hostNetns() },
});

/** A device that came back by itself gets its name and alias back. */
async function restoreReturned(selector: Selector, links: readonly FoundLink[], kernel: Kernel): Promise<boolean> {
  const found = findReturned(selector, links);
  if (!found) return false;
  const { link, home } = found;
  const down: Change[] = link.up ? [{ op: 'set-link', name: link.name, set: { up: false }, was: undefined }] : [];
  await apply([...down, { op: 'move-link', name: link.name, to: returned(home, link.group) }], kernel);
  return true;
}

/** The device on the host, as it is. Throws ConfigError when there is none. */
async function requireDevice(selector: Selector, kernel: Kernel): Promise<FoundLink> {
  let links = await hostLinks(kernel);
  if (await restoreReturned(selector, links, kernel)) links = await hostLinks(kernel);
  const device = findDevice(selector, links);
  if (device) return device;
  const { path, got } = keyOf(selector);
  throw new ConfigError([{ path, got: show(got), want: 'a network device of the host that no container has' }]);
}

async function attach(
  request: Request,
  { selector, dpdk }: HostDeviceConf,
  { kernel }: Machine,
  undo: UndoStack,
): Promise<FoundLink | undefined> {
  if (dpdk) return undefined;
  const { ifname, netns } = request;
  const [device, taken] = await Promise.all([requireDevice(selector, kernel), readLink(kernel, ifname, netns)]);
  if (taken) {
    throw new ConfigError([
      { path: 'CNI_IFNAME', got: show(ifname), want: 'a name that no link of the container has' },
    ]);
  }
  const home: Home = { name: device.name, alias: device.alias ?? '' };
  undo.push(() => returnDevice(kernel, request, device, home));
  const to = { name: ifname, netns: batchPath(netns), ...lent(home, device.group) };
  await apply([{ op: 'move-link', name: device.name, to }], kernel);
  return (await readLink(kernel, ifname, netns))?.links[0];
}

/** Undoes a move, whole or half: the kernel takes the device over before it renames it. */
async function returnDevice(kernel: Kernel, { ifname, netns }: Request, was: FoundLink, home: Home): Promise<void> {
  for (const name of [ifname, home.name]) {
    try {
      await apply([takeHome(name, home, lent(home, was.group).group?.toString())], kernel, netns);
      break;
    } catch (error) {
      if (!(error instanceof CommandError && error.reason === 'not-found')) throw error;
    }
  }
  if (was.up) await apply([{ op: 'set-link', name: home.name, set: { up: true }, was: undefined }], kernel);
}

/** Takes the device home from the container or, its namespace having ended, gives it its name back where it is. */
async function detach(request: Request, machine: Machine): Promise<void> {
  const { ifname, netns } = request;
  if (netnsState(netns) === 'namespace') {
    const [shown = []] = await machine.kernel.show(['link show'], netns);
    const device = linksOf(shown).find((l) => l.name === ifname);
    const home = device && homeOf(device);
    if (home) {
      await apply([takeHome(ifname, home, device.group)], machine.kernel, netns);
      return;
    }
  }
  await collect(request, machine);
}

/** DEL and GC work with what they can read of a configuration. */
async function collect(request: Request, { kernel, warn }: Machine): Promise<void> {
  let conf: HostDeviceConf;
  try {
    conf = decodeHostDeviceConf(request);
  } catch (error) {
    warn(`host-device: not looked for on the host: ${(error as Error).message}`);
    return;
  }
  if (!conf.dpdk) await restoreReturned(conf.selector, await hostLinks(kernel), kernel);
}

export const hostDevice = devicePlugin<HostDeviceConf>({
  name: 'host-device',
  about: 'lends a network device of the host to a container',
  decode: decodeHostDeviceConf,
  attach,
  detach,
  collect,
  check: async (_request, { dpdk }) => (dpdk ? undefined : []),
});

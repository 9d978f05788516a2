/**
 * Devices that an ADD makes and a DEL deletes, most of them on top of a link of the host, their master. One that is made on the
 * host for the container bears a passing name until it is there: kernels before 6.14 take its own for one of the host's.
 */

import { apply } from '../../src/apply/apply.ts';
import { kindProblems, readLink } from '../../src/apply/check.ts';
import { type FoundLink, linksOf, routesOf } from '../../src/apply/read.ts';
import type { UndoStack } from '../../src/apply/undo.ts';
import { batchPath, deleteLink } from '../../src/apply/veth.ts';
import { code } from '../../src/cni/error.ts';
import type { Plugin } from '../../src/cni/skel.ts';
import type { Request } from '../../src/cni/types.ts';
import { type Fields, show } from '../../src/decode.ts';
import { CniError, CommandError, ConfigError, type Problem } from '../../src/errors.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import { netnsState } from '../../src/kernel/netns.ts';
import { interfaceNameRule, isInterfaceName, passingName } from '../../src/net/name.ts';
import { parsePrefix } from '../../src/net/prefix.ts';
import type { Change } from '../../src/plan/diff.ts';
import type { LinkKind, LinkState, OnLink } from '../../src/plan/host.ts';
import { render } from '../../src/plan/render.ts';
import { type Device, type DeviceConf, decodeDevice, devicePlugin } from './device.ts';
import { idOf } from './veth.ts';

export interface Master {
  /** Absent: the link of the default route. */
  name: string | undefined;
  /** It is a link of the container. */
  inContainer: boolean;
}

export interface MadeConf extends DeviceConf {
  /** Absent: the device sits on nothing. */
  master?: Master;
  mtu?: number | undefined;
  /** Of its own, where it has one. */
  mac?: string | undefined;
}

/** The keys of every device that sits on a master. */
export function decodeOnMaster(f: Fields): MadeConf & { master: Master } {
  const name = f.string('master') || undefined;
  if (name !== undefined && !isInterfaceName(name)) f.wrong('master', interfaceNameRule);
  return {
    ...decodeDevice(f),
    master: { name, inContainer: f.boolean('linkInContainer') ?? false },
    mtu: f.integer('mtu', 0, 65_535) || undefined,
  };
}

async function defaultRouteDevice(kernel: Kernel, netns: string | undefined): Promise<string | undefined> {
  for (const family of [4, 6] as const) {
    const [shown = []] = await kernel.show(['route show default'], netns, family);
    // an unreachable default is one as well, of no device or of lo
    const route = routesOf(shown).find((r) => r.dev !== undefined && parsePrefix(r.prefix)?.length === 0);
    if (route?.dev) return route.dev;
  }
  return undefined;
}

/** The master as it is. Throws ConfigError when there is none, or when its MTU is smaller than the one wanted. */
async function readMaster({ master, mtu }: MadeConf, request: Request, kernel: Kernel): Promise<FoundLink | undefined> {
  if (!master) return undefined;
  const netns = master.inContainer ? request.netns : undefined;
  const where = master.inContainer ? 'container' : 'host';
  const name = master.name ?? (await defaultRouteDevice(kernel, netns));
  if (name === undefined) {
    throw new ConfigError([
      { path: 'master', got: 'nothing', want: `the name of a link, as the ${where} has no default route` },
    ]);
  }
  const link = (await readLink(kernel, name, netns))?.links[0];
  if (!link) throw new ConfigError([{ path: 'master', got: show(name), want: `a link of the ${where}` }]);
  if (mtu && link.mtu && mtu > link.mtu) {
    throw new ConfigError([{ path: 'mtu', got: show(mtu), want: `at most ${link.mtu}, the MTU of ${show(name)}` }]);
  }
  return link;
}

/** A kind of device. */
export interface Maker<Conf extends MadeConf> extends Pick<Device<Conf>, 'name' | 'about' | 'decode' | 'given'> {
  kind: LinkKind['kind'];
  /** How it is made, on a master where it has one. */
  make(conf: Conf, on: OnLink): LinkKind;
  /** Its MAC where the kernel shall not choose. */
  mac?(conf: Conf, request: Request): string | undefined;
}

async function attach<Conf extends MadeConf>(
  maker: Maker<Conf>,
  request: Request,
  conf: Conf,
  kernel: Kernel,
  undo: UndoStack,
): Promise<FoundLink | undefined> {
  const { ifname, netns } = request;
  const master = await readMaster(conf, request, kernel);
  const passing = passingName(idOf(request));
  const isMadeInside = !master || conf.master?.inContainer === true;
  const on: OnLink = { link: master?.name ?? '', ...(isMadeInside ? {} : { netns: batchPath(netns) }) };
  const made: LinkState = { name: ifname, make: maker.make(conf, on), ...(conf.mtu ? { mtu: conf.mtu } : {}) };
  const remove = (name: string) => () => deleteLink(kernel, name, netns).then(() => {});
  if (!isMadeInside) {
    await apply([{ op: 'add-link', link: { ...made, name: passing } }], kernel);
    undo.push(remove(passing));
  }
  const mac = maker.mac?.(conf, request);
  const changes: Change[] = [
    isMadeInside ? { op: 'add-link', link: made } : { op: 'move-link', name: passing, to: { name: ifname } },
  ];
  // not while it is made: a macvlan that passes everything through has its master's whatever is asked for then
  if (mac) changes.push({ op: 'set-link', name: ifname, set: { address: mac }, was: undefined });
  const lines = changes.flatMap(render).map((line) => line.text);
  const shown = await kernel.show([...lines, `link show dev ${ifname}`], netns).catch(async (error) => {
    if (error instanceof CommandError && (error.line ?? 0) > 1) await remove(ifname)();
    throw error;
  });
  undo.push(remove(ifname));
  return linksOf(shown[0] ?? [])[0];
}

/** Only what an ADD of this plugin can have made: after an ADD that failed the name may be another's. */
async function detach(kind: string, request: Request, { kernel }: Machine): Promise<void> {
  const { netns, ifname } = request;
  if (netnsState(netns) !== 'namespace') return;
  const [shown = []] = await kernel.show(['link show'], netns);
  const names = [ifname, passingName(idOf(request))];
  const doomed = linksOf(shown).filter((l) => l.kindName === kind && names.includes(l.name));
  for (const link of doomed) await deleteLink(kernel, link.name, netns);
}

async function check<Conf extends MadeConf>(
  maker: Maker<Conf>,
  request: Request,
  conf: Conf,
  links: readonly FoundLink[],
  kernel: Kernel,
): Promise<Problem[]> {
  const wanted: LinkState = { name: request.ifname, make: maker.make(conf, { link: '' }) };
  const link = links.find((l) => l.name === request.ifname);
  const problems = kindProblems(links, [wanted]);
  if (conf.mtu && link && link.mtu !== conf.mtu) {
    problems.push({ path: `link ${link.name} mtu`, got: show(link.mtu), want: show(conf.mtu) });
  }
  if (!conf.master?.name) return problems; // the default route may be another's by now
  const { name, inContainer } = conf.master;
  const master = (await readLink(kernel, name, inContainer ? request.netns : undefined))?.links[0];
  if (!master) return [...problems, { path: `master ${name}`, got: 'nothing', want: 'the link below' }];
  const below = link?.make && 'link' in link.make && link.make.link !== '' ? link.make.link : link?.peerIndex;
  if (link && below !== name && below !== master.index) {
    problems.push({ path: `link ${link.name} master`, got: show(below), want: `${show(name)}, link ${master.index}` });
  }
  return problems;
}

async function status<Conf extends MadeConf>(request: Request, conf: Conf, kernel: Kernel): Promise<void> {
  if (!conf.master?.name || conf.master.inContainer) return;
  await readMaster(conf, request, kernel).catch((error: unknown) => {
    if (!(error instanceof ConfigError)) throw error;
    throw new CniError(code.notAvailable, error.message, JSON.stringify(error.problems), { cause: error });
  });
}

/** A plugin that makes a device of one kind. */
export const madeDevicePlugin = <Conf extends MadeConf>(maker: Maker<Conf>): Plugin<Machine> =>
  devicePlugin<Conf>({
    ...maker,
    attach: (request, conf, { kernel }, undo) => attach(maker, request, conf, kernel, undo),
    detach: (request, machine) => detach(maker.kind, request, machine),
    check: (request, conf, pod, { kernel }) => check(maker, request, conf, pod.links, kernel),
    status: (request, conf, { kernel }) => status(request, conf, kernel),
  });

/**
 * Plugins whose container's interface is one device, made for it or given to it, with what IPAM says on it. They differ in how
 * the device comes into the container and leaves it; everything else is here.
 */

import { differences, type Found, readAll } from '../../src/apply/check.ts';
import type { FoundLink } from '../../src/apply/read.ts';
import { settle, settleInTurn } from '../../src/apply/settle.ts';
import { UndoStack } from '../../src/apply/undo.ts';
import { protocolKeys, readValidAttachments, requirePrevResult } from '../../src/cni/conf.ts';
import { driftError } from '../../src/cni/error.ts';
import { ipamType, openIpam } from '../../src/cni/ipam.ts';
import { type Plugin, requireNetns } from '../../src/cni/skel.ts';
import type { Dns, Request, Result } from '../../src/cni/types.ts';
import { decodeDns, emptyResult } from '../../src/cni/version.ts';
import type { Fields } from '../../src/decode.ts';
import type { Problem } from '../../src/errors.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import { planPod } from '../../src/plan/attachment.ts';
import { gatewaysByFamily } from '../../src/plan/bridge.ts';
import { mergeStates, type NamespaceState } from '../../src/plan/host.ts';
import { ipamPlugins } from '../ipam-plugins.ts';
import { inContainer, interfaceProblems } from './check.ts';
import { decodeIpamType } from './conf.ts';
import { applyPod, forward, obtainAddresses } from './veth.ts';

export interface DeviceConf {
  /** Absent: the device is brought up and no more. */
  ipamType: string | undefined;
  dns: Dns;
}

/** The keys that every device plugin has. */
export function decodeDevice(f: Fields): DeviceConf {
  f.ignore(...protocolKeys);
  return { ipamType: decodeIpamType(f), dns: f.object('dns', decodeDns) ?? {} };
}

/** `ipam` where nothing is left to do without an address. */
export function requireIpam(f: Fields, conf: DeviceConf): void {
  if (!conf.ipamType) f.wrong('ipam.type', 'the name of an IPAM plugin', undefined);
}

/** What is different from plugin to plugin. */
export interface Device<Conf extends DeviceConf> {
  readonly name: string;
  readonly about: string;
  /** Throws ConfigError with every wrong field; `notes` takes remarks on keys. */
  decode(request: Request, notes?: string[]): Conf;
  /**
   * Brings the device into the container under CNI_IFNAME, down, to be undone with the rest. Answers it as the kernel has it;
   * undefined: it is none of the kernel's, so there is nothing to configure.
   */
  attach(request: Request, conf: Conf, machine: Machine, undo: UndoStack): Promise<FoundLink | undefined>;
  /** Addresses and routes when there is no IPAM. */
  given?(request: Request): Result;
  /** Takes the device out of the container again; absent is fine. */
  detach(request: Request, machine: Machine): Promise<void>;
  /** What CHECK finds wrong with the device itself; undefined: CHECK has nothing to look at. */
  check(request: Request, conf: Conf, pod: Found, machine: Machine): Promise<Problem[] | undefined>;
  /** What stands in the way of the next ADD, thrown. */
  status?(request: Request, conf: Conf, machine: Machine): Promise<void>;
  /** What attachments that are over left on the host. */
  collect?(request: Request, machine: Machine): Promise<void>;
}

/** The container's share: its link up, with the addresses and routes there are, and announced to its neighbours. */
function podShare({ ifname }: Request, { ips, routes }: Pick<Result, 'ips' | 'routes'>): Partial<NamespaceState> {
  const share = planPod({
    ifname,
    addresses: ips.map((ip) => ip.address),
    routes,
    gateways: gatewaysByFamily(ips),
    duplicateAddressDetection: false,
  });
  if (ips.length === 0) return { links: share.links ?? [] };
  const notify = { key: `net/ipv6/conf/${ifname}/ndisc_notify`, value: '1', optional: true };
  return { ...share, sysctls: [...(share.sysctls ?? []), notify] };
}

async function add<Conf extends DeviceConf>(device: Device<Conf>, request: Request, machine: Machine): Promise<Result> {
  const notes: string[] = [];
  const conf = device.decode(request, notes);
  for (const note of notes) machine.warn(`${device.name}: ${note}`);
  requireNetns(request);
  await using undo = new UndoStack(machine);
  // before its addresses: an IPAM plugin such as dhcp asks for them by way of the device
  const link = await device.attach(request, conf, machine, undo);
  const { ips, routes, dns } = conf.ipamType
    ? await obtainAddresses(conf.ipamType, request, machine, undo)
    : (device.given?.(request) ?? emptyResult());
  if (link) await applyPod(request, podShare(request, { ips, routes }), machine.kernel);
  undo.commit();
  return {
    interfaces: [{ name: request.ifname, ...(link?.address ? { mac: link.address } : {}), sandbox: request.netns }],
    ips: ips.map((ip) => ({ ...ip, interface: 0 })),
    routes,
    dns: Object.keys(conf.dns).length > 0 ? conf.dns : dns,
  };
}

/** Our own IPAM's address is given back when nothing answers for it any more; another's may be released by way of the device. */
async function del<Conf extends DeviceConf>(device: Device<Conf>, request: Request, machine: Machine): Promise<void> {
  const detach = () => device.detach(request, machine);
  const type = ipamType(request);
  if (!type) return detach();
  const isOwn = ipamPlugins.some((plugin) => plugin.name === type);
  const release = async () => openIpam(type, request, machine, ipamPlugins).forward();
  await settleInTurn(isOwn ? [detach, release] : [release, detach]);
}

async function check<Conf extends DeviceConf>(device: Device<Conf>, request: Request, machine: Machine): Promise<void> {
  const conf = device.decode(request);
  requireNetns(request);
  if (conf.ipamType) await forward(conf.ipamType, request, machine);
  const previous = requirePrevResult(request);
  const pod = await readAll(machine.kernel, request.netns);
  const own = await device.check(request, conf, pod, machine);
  if (!own) return;
  // the container's sysctls are its own business once it runs
  const wanted = mergeStates({ ...podShare(request, previous), sysctls: [] });
  const missing = pod.links.some((l) => l.name === request.ifname)
    ? differences(pod.state, wanted)
    : [{ path: `link ${request.ifname}`, got: 'nothing', want: 'the device of ADD' }];
  const problems = [...interfaceProblems(request, previous, pod), ...[...own, ...missing].map(inContainer)];
  if (problems.length > 0) throw driftError(problems);
}

/** A plugin made of what is different about its device. */
export const devicePlugin = <Conf extends DeviceConf>(device: Device<Conf>): Plugin<Machine> => ({
  name: device.name,
  about: device.about,
  decode: (request, notes) => device.decode(request, notes),
  add: (request, machine) => add(device, request, machine),
  del: (request, machine) => del(device, request, machine),
  check: (request, machine) => check(device, request, machine),
  async gc(request, machine) {
    readValidAttachments(request.conf);
    const type = ipamType(request);
    await settle([device.collect?.(request, machine), type ? forward(type, request, machine) : undefined]);
  },
  async status(request, machine) {
    const conf = device.decode(request);
    await device.status?.(request, conf, machine);
    if (conf.ipamType) await forward(conf.ipamType, request, machine);
  },
});

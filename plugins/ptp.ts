/**
 * ptp: a veth pair between the container and the host and nothing in between. The container has its address with the length of
 * its network but sends everything, its network included, by way of the host, which has a route to each container.
 * Drop-in for the reference plugin of the same name: its keys, its result, its routes.
 *
 *   pod eth0 10.1.2.5/24 ── 10.1.2.0/24 via 10.1.2.1 ── veth1a2b3c4d 10.1.2.1/32 ── host: 10.1.2.5 dev veth1a2b3c4d
 */

import { settle } from '../src/apply/settle.ts';
import { UndoStack } from '../src/apply/undo.ts';
import { addVeth, batchPath } from '../src/apply/veth.ts';
import { type Plugin, requireNetns } from '../src/cni/skel.ts';
import type { IpConfig, Request, Result } from '../src/cni/types.ts';
import { linkNames } from '../src/kernel/ifaddrs.ts';
import type { Kernel } from '../src/kernel/kernel.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { attachmentLabel, hostMac, hostVethName, podMac } from '../src/net/name.ts';
import { planForwarding, planVeth, type VethPair } from '../src/plan/attachment.ts';
import { beginMasquerade } from './attachment/masquerade.ts';
import { collect, removeAttachment } from './attachment/remove.ts';
import { applyPod, forward, idOf, obtainAddresses, standBy } from './attachment/veth.ts';
import { check } from './ptp/check.ts';
import { decodePtpConf, type PtpConf } from './ptp/conf.ts';
import { complete, hostShare, kernelRoutes, podShare, type RoutedIp } from './ptp/plan.ts';

function pairOf(request: Request, conf: PtpConf): VethPair {
  const id = idOf(request);
  return {
    host: hostVethName(id),
    hostMac: hostMac(id),
    pod: request.ifname,
    podMac: podMac(id),
    netns: batchPath(request.netns),
    mtu: conf.mtu,
    label: attachmentLabel(id),
  };
}

async function add(request: Request, machine: Machine): Promise<Result> {
  const notes: string[] = [];
  const conf = decodePtpConf(request, notes);
  for (const note of notes) machine.warn(`ptp: ${note}`);
  requireNetns(request);
  const { kernel } = machine;
  standBy(request, kernel, conf);
  await using undo = new UndoStack(machine);

  const answer = await obtainAddresses(conf.ipamType, request, machine, undo);
  const ips = complete(conf, answer);
  const pair = pairOf(request, conf);
  await settle([
    connect(request, pair, ips, answer, kernel, undo),
    conf.ipMasq ? masquerade(request, ips, kernel, undo) : undefined,
  ]);
  undo.commit();
  return {
    interfaces: [
      { name: pair.host, mac: pair.hostMac },
      { name: pair.pod, mac: pair.podMac, sandbox: request.netns },
    ],
    ips,
    routes: answer.routes,
    dns: Object.keys(conf.dns).length > 0 ? conf.dns : answer.dns,
  };
}

/** The pair with the host's share, then the container's end. */
async function connect(
  request: Request,
  pair: VethPair,
  ips: readonly RoutedIp[],
  { routes }: Result,
  kernel: Kernel,
  undo: UndoStack,
): Promise<void> {
  for (const sysctl of planForwarding(ips.map((ip) => ip.address.address.family))) kernel.writeSysctl(sysctl);
  undo.push(await addVeth(kernel, { links: [planVeth(pair)], ...hostShare(pair.host, ips) }));
  await applyPod(request, podShare(request.ifname, ips, routes), kernel, kernelRoutes(request.ifname, ips));
}

/** A host without any pair has no container yet. */
const masquerade = (request: Request, ips: readonly IpConfig[], kernel: Kernel, undo: UndoStack) =>
  beginMasquerade(
    request,
    ips.map((ip) => ip.address),
    kernel,
    undo,
    () => !linkNames().some((name) => name.startsWith('veth')),
  );

async function status(request: Request, machine: Machine): Promise<void> {
  await forward(decodePtpConf(request).ipamType, request, machine);
}

export const ptp: Plugin<Machine> = {
  name: 'ptp',
  about: 'connects containers to the host, each by a link and routes of its own',
  decode: decodePtpConf,
  add,
  del: (request, machine) => removeAttachment(request, machine),
  check,
  gc: (request, machine) => collect(request, machine),
  status,
};

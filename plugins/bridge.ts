/**
 * bridge: a veth pair between the container and a bridge on the host, addresses from an IPAM plugin, the host as gateway.
 * Drop-in for the reference plugin of the same name: its keys, its result, its leases on disk.
 *
 *   pod eth0 ── veth1a2b3c4d ┐
 *   pod eth0 ── veth5e6f7a8b ┴ cni0 (gateway address) ── routing, masquerade ── the host's links
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { apply } from '../src/apply/apply.ts';
import { ensureVlanGateway, initialVlans, withBridge } from '../src/apply/bridge.ts';
import { readLink } from '../src/apply/check.ts';
import { removeGuards } from '../src/apply/macspoofchk.ts';
import { addMasquerade, removeMasquerade, removeOwnMasquerade, sweepMasquerade } from '../src/apply/masquerade.ts';
import { forgetReference } from '../src/apply/other-suite.ts';
import { settle } from '../src/apply/settle.ts';
import { UndoStack } from '../src/apply/undo.ts';
import { addVeth, removeVeth, sweepVeths } from '../src/apply/veth.ts';
import { readPrevResult, readValidAttachments } from '../src/cni/conf.ts';
import { ipamType, openIpam } from '../src/cni/ipam.ts';
import { type Plugin, requireNetns } from '../src/cni/skel.ts';
import type { Interface, Request, Result } from '../src/cni/types.ts';
import { runningLink } from '../src/kernel/ifaddrs.ts';
import type { Kernel } from '../src/kernel/kernel.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { netnsState } from '../src/kernel/netns.ts';
import { type Address, isGlobalUnicast } from '../src/net/address.ts';
import { attachmentLabel, attachmentMark, hostVethName, networkMark } from '../src/net/name.ts';
import { parsePrefix } from '../src/net/prefix.ts';
import { planForwarding, planPortVlans, planVeth, type VethPair } from '../src/plan/attachment.ts';
import { diff } from '../src/plan/diff.ts';
import { emptyState, type LinkState, mergeStates, type NamespaceState } from '../src/plan/host.ts';
import { type GuardedPort, guardPort } from '../src/plan/macspoofchk.ts';
import { check } from './bridge/check.ts';
import { type BridgeConf, decodeBridgeConf } from './bridge/conf.ts';
import {
  bridgeNeed,
  complete,
  type Given,
  gatewaysOf,
  idOf,
  pairOf,
  podShare,
  portAttributes,
  portVlans,
} from './bridge/plan.ts';
import { heldAddresses, hostLocal } from './host-local.ts';

async function add(request: Request, machine: Machine): Promise<Result> {
  const notes: string[] = [];
  const conf = decodeBridgeConf(request, notes);
  for (const note of notes) machine.warn(`bridge: ${note}`);
  requireNetns(request);
  const { kernel } = machine;
  const pair = pairOf(request, conf);
  await using undo = new UndoStack(machine);

  let { dns } = conf;
  let given: Given = { ips: [], routes: [] };
  if (conf.ipamType) {
    const ipam = openIpam(conf.ipamType, request, machine, [hostLocal]);
    const answer = await ipam.add();
    undo.push(() => ipam.undo());
    given = complete(conf, answer);
    if (Object.keys(dns).length === 0) dns = answer.dns;
  }
  const links = connect(request, conf, given, pair, kernel, undo);
  await settle([
    links,
    conf.ipMasq ? masquerade(request, conf, given, kernel, undo) : undefined,
    conf.macspoofchk ? guard({ port: pair.host, mac: pair.podMac, label: pair.label }, kernel, undo) : undefined,
  ]);
  undo.commit();
  return { interfaces: await links, ...given, dns };
}

/** Bridge, pair and the container's end, one after the other. Answers the result's interfaces. */
async function connect(
  request: Request,
  conf: BridgeConf,
  given: Given,
  pair: VethPair,
  kernel: Kernel,
  undo: UndoStack,
): Promise<Interface[]> {
  const gateways = gatewaysOf(conf, given);
  const need = bridgeNeed(conf, given);
  for (const sysctl of planForwarding(gateways.map((g) => g.address.family))) kernel.writeSysctl(sysctl);
  const actual = { vlans: need.vlanFiltering ? initialVlans(pair.host) : [] };
  const port = {
    links: [{ ...planVeth(pair), ...portAttributes(conf) }],
    vlans: planPortVlans(pair.host, portVlans(conf)),
  };
  const bridgeMac = await withBridge(kernel, need, async ({ mac, changes }) => {
    undo.push(await addVeth(kernel, port, { before: changes, actual }));
    return mac;
  });
  const interfaces: Interface[] = [
    { name: conf.bridge, mac: bridgeMac },
    { name: pair.host, mac: pair.hostMac },
    { name: pair.pod, mac: pair.podMac, sandbox: request.netns },
  ];
  if (conf.vlan !== 0 && gateways.length > 0) {
    const { bridge, mtu, forceAddress } = conf;
    interfaces.push(await ensureVlanGateway(kernel, { bridge, mtu, vlans: portVlans(conf), gateways, forceAddress }));
  }
  if (!conf.disableContainerInterface) await applyPod(request, podShare(request, conf, given), kernel);
  return interfaces;
}

/** The container's end is there, down and without addresses: the rest is the difference. */
function applyPod(request: Request, share: Partial<NamespaceState>, kernel: Kernel): Promise<void> {
  const fresh: LinkState = { name: request.ifname, make: { kind: 'given' }, up: false };
  return apply(diff({ ...emptyState(), links: [fresh] }, mergeStates(share)), kernel, request.netns);
}

/**
 * Runs beside the links, needing only the addresses, but starts after them: the pod waits longest for its links.
 * A bridge at rest has no pod yet, so the table is probably not there.
 */
async function masquerade(
  request: Request,
  conf: BridgeConf,
  { ips }: Given,
  kernel: Kernel,
  undo: UndoStack,
): Promise<void> {
  const prefixes = ips.map((ip) => ip.address);
  if (prefixes.length === 0) return;
  await nextTurn();
  const id = idOf(request);
  const addresses = prefixes.map((p) => p.address);
  undo.push(() => removeMasquerade(kernel, addresses, attachmentMark(id)));
  await addMasquerade(kernel, prefixes, attachmentLabel(id), runningLink(conf.bridge) === undefined);
}

async function guard(port: GuardedPort, kernel: Kernel, undo: UndoStack): Promise<void> {
  undo.push(() => removeGuards(kernel, (name) => name === port.port));
  await kernel.nft(guardPort(port));
}

/** A flag of a configuration that need not be right any more: DEL works with what it can read. */
const hasFlag = (request: Request, key: string): boolean => request.conf[key] === true;

/** The addresses the attachment had: what the runtime remembers, else what the container's link has. */
async function rememberedAddresses(request: Request, machine: Machine): Promise<Address[]> {
  try {
    const previous = readPrevResult(request.conf, request.cniVersion);
    if (previous) return previous.ips.map((ip) => ip.address.address);
  } catch (error) {
    machine.warn(`bridge: prevResult is left aside: ${(error as Error).message}`);
  }
  if (netnsState(request.netns) !== 'namespace') return [];
  const found = await readLink(machine.kernel, request.ifname, request.netns);
  return (found?.state.addresses ?? []).flatMap((a) => parsePrefix(a.address)?.address ?? []).filter(isGlobalUnicast);
}

/** Who holds the addresses' leases need not look whose masquerade it is; without a lease it may be another pod's by now. */
async function endMasquerade(request: Request, machine: Machine, type: string): Promise<void> {
  const leased = type === hostLocal.name ? heldAddresses(request) : [];
  if (leased.length > 0) return removeOwnMasquerade(machine.kernel, leased);
  const addresses = await rememberedAddresses(request, machine);
  await removeMasquerade(machine.kernel, addresses, attachmentMark(idOf(request)));
}

async function removeLinks(request: Request, { kernel, exec }: Machine): Promise<void> {
  const id = idOf(request);
  const maker = await removeVeth(kernel, hostVethName(id), request.netns, request.ifname);
  if (maker === 'foreign' && hasFlag(request, 'ipMasq')) await forgetReference(exec, id);
}

/** Removes what is there; what is not is fine. Every step is tried before a failure is reported. */
async function del(request: Request, machine: Machine): Promise<void> {
  const { kernel } = machine;
  const id = idOf(request);
  const type = ipamType(request);
  const host = hostVethName(id);
  const onHost = settle([
    // first what takes longest: nft ends only when the kernel has waited for the packets under way
    type && hasFlag(request, 'ipMasq') ? endMasquerade(request, machine, type) : undefined,
    removeLinks(request, machine),
    hasFlag(request, 'macspoofchk') ? removeGuards(kernel, (port) => port === host) : undefined,
  ]);
  // the address is given back only when nothing here answers for it any more
  await onHost.catch(() => {});
  await settle([onHost, type ? forward(type, request, machine) : undefined]);
}

const forward = async (type: string, request: Request, machine: Machine): Promise<void> =>
  openIpam(type, request, machine, [hostLocal]).forward();

/** Frees what belongs to attachments that are not in the list any more: leases, host ends, masquerade, guards. */
async function gc(request: Request, machine: Machine): Promise<void> {
  const valid = readValidAttachments(request.conf).map((v) => ({ network: request.name, ...v }));
  const marks = new Set(valid.map(attachmentMark));
  const mark = networkMark(request.name);
  const keep = (label: string): boolean => !label.startsWith(`${mark}:`) || marks.has(label.split(' ')[0] ?? '');
  const type = ipamType(request);
  const { kernel } = machine;
  await settle([
    sweepVeths(kernel, request.name, valid),
    sweepMasquerade(kernel, keep),
    hasFlag(request, 'macspoofchk') ? removeGuards(kernel, (_port, label) => !keep(label)) : undefined,
    type ? forward(type, request, machine) : undefined,
  ]);
}

async function status(request: Request, machine: Machine): Promise<void> {
  const conf = decodeBridgeConf(request);
  if (conf.ipamType) await forward(conf.ipamType, request, machine);
}

export const bridge: Plugin<Machine> = {
  name: 'bridge',
  about: 'connects containers to a Linux bridge on the host',
  add,
  del,
  check,
  gc,
  status,
};

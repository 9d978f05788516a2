/**
 * bridge: a veth pair between the container and a bridge on the host, addresses from an IPAM plugin, the host as gateway.
 * Drop-in for the reference plugin of the same name: its keys, its result, its leases on disk.
 *
 *   pod eth0 ── veth1a2b3c4d ┐
 *   pod eth0 ── veth5e6f7a8b ┴ cni0 (gateway address) ── routing, masquerade ── the host's links
 */

import { apply } from '../src/apply/apply.ts';
import { type BridgeNeed, ensureVlanGateway, initialVlans, vlanGatewayName, withBridge } from '../src/apply/bridge.ts';
import { differences, type Found, kindProblems, pairProblems, readAll, readLink } from '../src/apply/check.ts';
import { removeGuards } from '../src/apply/macspoofchk.ts';
import {
  addMasquerade,
  missingMasquerade,
  removeMasquerade,
  removeOwnMasquerade,
  sweepMasquerade,
} from '../src/apply/masquerade.ts';
import { settle } from '../src/apply/settle.ts';
import { UndoStack } from '../src/apply/undo.ts';
import { addVeth, batchPath, removeVeth, sweepVeths } from '../src/apply/veth.ts';
import { readPrevResult, readValidAttachments } from '../src/cni/conf.ts';
import { code, driftError } from '../src/cni/error.ts';
import { ipamType, openIpam } from '../src/cni/ipam.ts';
import { type Plugin, requireNetns } from '../src/cni/skel.ts';
import type { Interface, IpConfig, Request, Result, Route } from '../src/cni/types.ts';
import { emptyResult } from '../src/cni/version.ts';
import { show } from '../src/decode.ts';
import { CniError, type Problem } from '../src/errors.ts';
import type { Kernel } from '../src/kernel/kernel.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { netnsState } from '../src/kernel/netns.ts';
import { type Address, formatAddress, isGlobalUnicast } from '../src/net/address.ts';
import { macFrom } from '../src/net/mac.ts';
import {
  type AttachmentId,
  attachmentLabel,
  attachmentMark,
  hostVethName,
  macSeed,
  networkMark,
} from '../src/net/name.ts';
import { formatPrefix, type Prefix, parsePrefix } from '../src/net/prefix.ts';
import {
  type PortVlans,
  planForwarding,
  planPod,
  planPortVlans,
  planVeth,
  withDefaultRoutes,
} from '../src/plan/attachment.ts';
import { firstAddress, gatewayPrefixes, gatewaysByFamily } from '../src/plan/bridge.ts';
import { diff } from '../src/plan/diff.ts';
import { emptyState, type LinkState, mergeStates, type NamespaceState } from '../src/plan/host.ts';
import { type GuardedPort, guardPort } from '../src/plan/macspoofchk.ts';
import { type BridgeConf, decodeBridgeConf } from './bridge-conf.ts';
import { heldAddresses, hostLocal } from './host-local.ts';

const idOf = (r: Request) => ({ network: r.name, containerId: r.containerId, ifname: r.ifname });

/** What the container gets: IPAM's answer, completed by what the bridge adds to it. */
interface Given {
  ips: IpConfig[];
  routes: Route[];
}

/** Gateways where the host is one, and a default route where it shall be the default. */
function complete(conf: BridgeConf, { ips, routes }: Result): Given {
  if (ips.length === 0) {
    throw new CniError(
      code.invalidConfig,
      `IPAM plugin "${conf.ipamType}" returned missing IP config`,
      'it answered without an address; a bridge without ipam is layer 2 only',
    );
  }
  const completed = ips.map(({ address, gateway }) => {
    const own = gateway ?? (conf.isGateway ? firstAddress(address) : undefined);
    return { address, interface: 2, ...(own ? { gateway: own } : {}) };
  });
  return {
    ips: completed,
    routes: conf.isDefaultGateway ? withDefaultRoutes(routes, gatewaysByFamily(completed)) : routes,
  };
}

const gatewaysOf = (conf: BridgeConf, given: Given): Prefix[] => (conf.isGateway ? gatewayPrefixes(given.ips) : []);

const portVlans = (conf: BridgeConf): PortVlans => ({
  vlan: conf.vlan,
  trunk: conf.trunk ?? [],
  preserveDefault: conf.preserveDefaultVlan,
});

const bridgeNeed = (conf: BridgeConf, given: Given): BridgeNeed => ({
  name: conf.bridge,
  mtu: conf.mtu,
  promisc: conf.promiscMode,
  vlanFiltering: conf.vlan !== 0 || conf.trunk !== undefined,
  gateways: conf.vlan === 0 ? gatewaysOf(conf, given) : [],
  forceAddress: conf.forceAddress,
});

/** The container's share: its link up and, with IPAM, addresses and routes. */
function podShare(request: Request, conf: BridgeConf, given: Given): Partial<NamespaceState> {
  const share = planPod({
    ifname: request.ifname,
    addresses: given.ips.map((ip) => ip.address),
    routes: given.routes,
    gateways: gatewaysByFamily(given.ips),
    duplicateAddressDetection: conf.enabledad,
  });
  return conf.ipamType ? share : { links: share.links ?? [] };
}

/** The attributes of the host's end as a port. */
const portAttributes = (conf: BridgeConf): Partial<LinkState> => ({
  master: conf.bridge,
  ...(conf.hairpinMode ? { hairpin: true } : {}),
  ...(conf.portIsolation ? { isolated: true } : {}),
});

async function add(request: Request, machine: Machine): Promise<Result> {
  const { kernel } = machine;
  const notes: string[] = [];
  const conf = decodeBridgeConf(request, notes);
  for (const note of notes) machine.warn(`bridge: ${note}`);
  requireNetns(request);
  const id = idOf(request);
  const pair = {
    host: hostVethName(id),
    hostMac: macFrom(macSeed(id, 'host')),
    pod: request.ifname,
    podMac: conf.mac ?? macFrom(macSeed(id, 'pod')),
    netns: batchPath(request.netns),
    mtu: conf.mtu,
    label: attachmentLabel(id),
  };
  await using undo = new UndoStack(machine);

  const result = emptyResult();
  let given: Given = { ips: [], routes: [] };
  if (conf.ipamType) {
    const ipam = openIpam(conf.ipamType, request, machine, [hostLocal]);
    const answer = await ipam.add();
    undo.push(() => ipam.undo());
    given = complete(conf, answer);
    result.dns = answer.dns;
  }
  const gateways = gatewaysOf(conf, given);
  const need = bridgeNeed(conf, given);
  for (const sysctl of planForwarding(gateways.map((g) => g.address.family))) kernel.writeSysctl(sysctl);
  const actual = { vlans: need.vlanFiltering ? initialVlans(pair.host) : [] };
  const port = {
    links: [{ ...planVeth(pair), ...portAttributes(conf) }],
    vlans: planPortVlans(pair.host, portVlans(conf)),
  };
  const { mac: bridgeMac, isNew } = await withBridge(kernel, need, async ({ mac, changes }) => {
    undo.push(await addVeth(kernel, port, { before: changes, actual }));
    return { mac, isNew: changes.length > 0 };
  });
  const vlanGateway =
    conf.vlan !== 0 && gateways.length > 0
      ? await ensureVlanGateway(kernel, {
          bridge: conf.bridge,
          mtu: conf.mtu,
          vlans: portVlans(conf),
          gateways,
          forceAddress: conf.forceAddress,
        })
      : undefined;
  await settle([
    conf.disableContainerInterface ? undefined : applyPod(request, podShare(request, conf, given), kernel),
    conf.ipMasq ? masquerade(id, given, isNew, kernel, undo) : undefined,
    conf.macspoofchk ? guard({ port: pair.host, mac: pair.podMac, label: pair.label }, kernel, undo) : undefined,
  ]);
  undo.commit();

  result.interfaces = [
    { name: conf.bridge, mac: bridgeMac },
    { name: pair.host, mac: pair.hostMac },
    { name: pair.pod, mac: pair.podMac, sandbox: request.netns },
    ...(vlanGateway ? [vlanGateway] : []),
  ];
  return { ...result, ...given, dns: Object.keys(conf.dns).length > 0 ? conf.dns : result.dns };
}

/** The container's end is there, down and without addresses: the rest is the difference. */
function applyPod(request: Request, share: Partial<NamespaceState>, kernel: Kernel): Promise<void> {
  const fresh: LinkState = { name: request.ifname, make: { kind: 'given' }, up: false };
  return apply(diff({ ...emptyState(), links: [fresh] }, mergeStates(share)), kernel, request.netns);
}

async function masquerade(
  id: AttachmentId,
  { ips }: Given,
  isNew: boolean,
  kernel: Kernel,
  undo: UndoStack,
): Promise<void> {
  const prefixes = ips.map((ip) => ip.address);
  if (prefixes.length === 0) return;
  undo.push(() =>
    removeMasquerade(
      kernel,
      prefixes.map((p) => p.address),
      attachmentMark(id),
    ),
  );
  await addMasquerade(kernel, prefixes, attachmentLabel(id), isNew);
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

/** Removes what is there; what is not is fine. Every step is tried before a failure is reported. */
async function del(request: Request, machine: Machine): Promise<void> {
  const { kernel } = machine;
  const id = idOf(request);
  const type = ipamType(request);
  const host = hostVethName(id);
  const onHost = settle([
    removeVeth(kernel, host, request.netns, request.ifname),
    type && hasFlag(request, 'ipMasq') ? endMasquerade(request, machine, type) : undefined,
    hasFlag(request, 'macspoofchk') ? removeGuards(kernel, (port) => port === host) : undefined,
  ]);
  // the address is given back only when nothing here answers for it any more
  await onHost.catch(() => {});
  await settle([onHost, type ? forward(type, request, machine) : undefined]);
}

const forward = async (type: string, request: Request, machine: Machine): Promise<void> =>
  openIpam(type, request, machine, [hostLocal]).forward();

/** Everything ADD promised, compared with what is there; every difference is named. */
async function check(request: Request, machine: Machine): Promise<void> {
  const conf = decodeBridgeConf(request);
  requireNetns(request);
  if (conf.ipamType) await forward(conf.ipamType, request, machine);
  const previous = readPrevResult(request.conf, request.cniVersion);
  if (!previous)
    throw new CniError(code.invalidConfig, 'Required prevResult missing', 'CHECK compares with the result of ADD');
  const { kernel } = machine;
  const [host, pod] = await Promise.all([readAll(kernel), readAll(kernel, request.netns)]);
  const problems = [
    ...interfaceProblems(request, conf, previous, host, pod),
    ...differences(pod.state, mergeStates(wantedPod(request, conf, previous))).map(inContainer),
    ...(await masqueradeProblems(request, conf, previous, kernel)),
  ];
  if (problems.length > 0) throw driftError(problems);
}

const inContainer = (p: Problem): Problem => ({ ...p, path: `container: ${p.path}` });

/** The container's share as the result promised it; sysctls are the container's own business once it runs. */
function wantedPod(request: Request, conf: BridgeConf, previous: Result): Partial<NamespaceState> {
  if (conf.disableContainerInterface) return {};
  const share = podShare(request, conf, { ips: previous.ips, routes: previous.routes });
  return { ...share, sysctls: [] };
}

function interfaceProblems(request: Request, conf: BridgeConf, previous: Result, host: Found, pod: Found): Problem[] {
  const onHost = previous.interfaces.filter((i) => !i.sandbox);
  const bridge = onHost.find((i) => i.name === conf.bridge);
  const port = onHost.find((i) => i.name !== conf.bridge && i.name !== vlanGatewayName(conf.bridge, conf.vlan));
  const container = previous.interfaces.find((i) => i.name === request.ifname && i.sandbox);
  const problems: Problem[] = [];
  if (container && container.sandbox !== request.netns) {
    problems.push({ path: 'prevResult sandbox', got: show(container.sandbox), want: show(request.netns) });
  }
  const gateways = conf.vlan === 0 ? gatewaysOf(conf, previous) : [];
  const wanted: LinkState[] = [
    { name: conf.bridge, make: { kind: 'bridge' }, up: true, promisc: conf.promiscMode, ...macOf(bridge) },
    ...(port
      ? [{ name: port.name, make: { kind: 'veth' }, up: true, ...portAttributes(conf), ...macOf(port) } as LinkState]
      : []),
  ];
  const addresses = gateways.map((g) => ({ dev: conf.bridge, address: formatPrefix(g) }));
  const podLink = pod.links.find((l) => l.name === request.ifname);
  const portLink = host.links.find((l) => l.name === port?.name);
  return [
    ...problems,
    ...kindProblems(host.links, wanted),
    ...differences(host.state, mergeStates({ links: wanted, addresses })),
    ...(port
      ? pairProblems(portLink, podLink, port.name, request.ifname)
      : [{ path: 'prevResult interfaces', got: 'no host interface', want: 'the bridge port of ADD' }]),
    ...(container?.mac && podLink
      ? differences(
          pod.state,
          mergeStates({ links: [{ name: request.ifname, make: { kind: 'given' }, address: container.mac }] }),
        ).map(inContainer)
      : []),
  ];
}

const macOf = (i: Interface | undefined) => (i?.mac ? { address: i.mac } : {});

/** Masquerade of a pod that another suite attached is in that suite's tables, not in ours. */
async function masqueradeProblems(
  request: Request,
  conf: BridgeConf,
  previous: Result,
  kernel: Kernel,
): Promise<Problem[]> {
  const id = idOf(request);
  if (!conf.ipMasq || !previous.interfaces.some((i) => i.name === hostVethName(id))) return [];
  const missing = await missingMasquerade(
    kernel,
    previous.ips.map((ip) => ip.address.address),
    attachmentMark(id),
  );
  return missing.map(({ address, comment }) => ({
    path: `masquerade of ${formatAddress(address)}`,
    got: comment === undefined ? 'nothing' : show(comment),
    want: show(attachmentLabel(id)),
  }));
}

/** Frees what belongs to attachments that are not in the list any more: leases, host ends, masquerade, guards. */
async function gc(request: Request, machine: Machine): Promise<void> {
  const valid = readValidAttachments(request.conf);
  const marks = new Set(valid.map((v) => attachmentMark({ network: request.name, ...v })));
  const mark = networkMark(request.name);
  const keep = (label: string): boolean => !label.startsWith(`${mark}:`) || marks.has(label.split(' ')[0] ?? '');
  const type = ipamType(request);
  const { kernel } = machine;
  await settle([
    sweepVeths(kernel, mark, keep),
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

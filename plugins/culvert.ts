/**
 * culvert: the one plugin a cluster needs. The agent has written what this node is (node.json: podCIDRs, MTU, way of attaching);
 * ADD leases an address out of the podCIDRs and attaches the pod with three child processes, one more for host ports and one for
 * shaping, all started at once. It works from that file with the agent down; masquerade and the paths to other nodes are
 * the agent's.
 */

import { apply } from '../src/apply/apply.ts';
import { addShaping, ifbsOf, shapingProblems } from '../src/apply/bandwidth.ts';
import { withBridge } from '../src/apply/bridge.ts';
import { differences, pairProblems, readAll } from '../src/apply/check.ts';
import { removePortmap, sweepPortmap } from '../src/apply/portmap.ts';
import { addressesOf } from '../src/apply/read.ts';
import { settle } from '../src/apply/settle.ts';
import { UndoStack } from '../src/apply/undo.ts';
import { addVeth, batchPath, removeVeth, sweepVeths } from '../src/apply/veth.ts';
import { readValidAttachments, requirePrevResult } from '../src/cni/conf.ts';
import { code, driftError } from '../src/cni/error.ts';
import { type Plugin, requireNetns } from '../src/cni/skel.ts';
import type { Request, Result } from '../src/cni/types.ts';
import type { Problem } from '../src/errors.ts';
import { CniError } from '../src/errors.ts';
import { runningLink } from '../src/kernel/ifaddrs.ts';
import type { Kernel } from '../src/kernel/kernel.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { equalAddress, formatAddress } from '../src/net/address.ts';
import { attachmentMark, hostVethName, labelKeeper } from '../src/net/name.ts';
import { formatPrefix, parsePrefix } from '../src/net/prefix.ts';
import { formatRangeSet, rangeOf } from '../src/net/range.ts';
import { planForwarding } from '../src/plan/attachment.ts';
import { isShaped } from '../src/plan/bandwidth.ts';
import { gatewayPrefixes } from '../src/plan/bridge.ts';
import { diff } from '../src/plan/diff.ts';
import { emptyState, type LinkState, mergeStates } from '../src/plan/host.ts';
import { Leases } from '../src/store/leases.ts';
import { shapedLinks } from './attachment/bandwidth.ts';
import {
  asksForPorts,
  beginPortmap,
  portmapProblems,
  portmapPrograms,
  routeLocalnet,
  routesLocalnet,
} from './attachment/portmap.ts';
import { idOf, standBy } from './attachment/veth.ts';
import {
  type CulvertConf,
  decodeCulvertConf,
  defaultNodeFile,
  leaseDir,
  type Node,
  podRanges,
  readNode,
} from './culvert/conf.ts';
import { type Attachment, planAttachment } from './culvert/plan.ts';

/** One address from each family's podCIDRs; an address asked for where its podCIDR is. */
function lease(request: Request, node: Node, conf: CulvertConf, undo: UndoStack) {
  const leases = new Leases(node.dataDir, request.name);
  const left = [...conf.requested];
  undo.push(async () => void leases.release(request));
  const given = podRanges(node).map((set, i) => {
    const at = left.findIndex((a) => rangeOf(set, a));
    return leases.reserve(request, i, set, at < 0 ? undefined : left.splice(at, 1)[0]);
  });
  if (left.length > 0) {
    const ranges = node.podCIDRs.map(formatPrefix).join(', ');
    throw new CniError(
      code.invalidConfig,
      `requested addresses ${left.map(formatAddress).join(', ')} are not in this node's podCIDRs ${ranges}`,
    );
  }
  return given;
}

async function add(request: Request, machine: Machine): Promise<Result> {
  const { kernel } = machine;
  const notes: string[] = [];
  const conf = decodeCulvertConf(request, notes);
  for (const note of notes) machine.warn(`culvert: ${note}`);
  requireNetns(request);
  const node = readNode(conf.nodeFile);
  if (node.attach === 'ptp' || runningLink(node.bridge)) {
    const ports = conf.mappings.length > 0 ? (['nft -f'] as const) : [];
    standBy(request, kernel, [...ports, ...(isShaped(conf.bandwidth) ? (['tc'] as const) : [])]);
  }
  await using undo = new UndoStack(machine);

  const leased = lease(request, node, conf, undo);
  const attachment = planAttachment({ ...request, netns: batchPath(request.netns) }, node, leased, conf);
  for (const sysctl of planForwarding(attachment.addresses.map((a) => a.address.family))) kernel.writeSysctl(sysctl);
  undo.push(() => kernel.deleteLinks(ifbsOf(kernel, attachment.shaped)));
  const bridge = await attachHost(kernel, node, attachment, undo);
  const fresh: LinkState = { name: request.ifname, make: { kind: 'given' }, up: false };
  await settle([
    apply(diff({ ...emptyState(), links: [fresh] }, mergeStates(attachment.inPod)), kernel, request.netns),
    addShaping(kernel, attachment.shaping),
    forwardPorts(request, machine, attachment, bridge ? [bridge.name] : [], undo),
  ]);
  undo.commit();

  const mtu = node.mtu;
  return {
    interfaces: [
      ...(bridge ? [bridge] : []),
      { name: attachment.host, mac: attachment.hostMac, mtu },
      { name: request.ifname, mac: attachment.podMac, mtu, sandbox: request.netns },
      ...attachment.onHost.links.slice(1).map(({ name }) => ({ name, mac: attachment.shaped.mac, mtu })),
    ],
    ips: attachment.ips,
    routes: attachment.routes,
    dns: conf.dns,
  };
}

/** Host ports. The sysctl on the host's end also tells DEL that there are some. */
async function forwardPorts(
  request: Request,
  machine: Machine,
  { host, portmap }: Attachment,
  bridges: readonly string[],
  undo: UndoStack,
): Promise<void> {
  if (portmap.forwards.length === 0) return;
  routeLocalnet(machine.kernel, [host, ...bridges]);
  undo.push(() => removePortmap(machine, attachmentMark(idOf(request))));
  await beginPortmap(request, machine, portmap);
}

/** Makes the host's end; with `attach: bridge` the bridge as well, which is answered. */
async function attachHost(kernel: Kernel, node: Node, attachment: Attachment, undo: UndoStack) {
  if (node.attach === 'ptp') {
    const pair = addVeth(kernel, attachment.onHost).catch(async (error: unknown) => {
      await requireAddresses(kernel, node); // ip's own words for it name neither the address nor the agent
      throw error;
    });
    undo.push(await pair);
    return undefined;
  }
  return withBridge(kernel, bridgeNeed(node, attachment), async ({ mac, changes }) => {
    undo.push(await addVeth(kernel, attachment.onHost, { before: changes }));
    return { name: node.bridge, mac };
  });
}

/** Throws CniError 50 when the host has not got an address that it had: routes to pods name it as their source. */
async function requireAddresses(kernel: Kernel, { attach, addresses, podCIDRs }: Node): Promise<void> {
  const sources = addresses.filter((a) => podCIDRs.some((p) => p.address.family === a.family));
  if (attach !== 'ptp' || sources.length === 0) return;
  const [shown = []] = await kernel.show(['addr show']);
  const held = addressesOf(shown).flatMap((a) => parsePrefix(a.address)?.address ?? []);
  const gone = sources.filter((a) => !held.some((h) => equalAddress(h, a))).map(formatAddress);
  if (gone.length === 0) return;
  throw new CniError(
    code.notAvailable,
    `this node is not ready for pods: no link of the host has the node's ${gone.join(' and ')}`,
    'the agent writes the node file anew when it knows of other addresses: is "culvert agent" running, and what does its log say?',
  );
}

const bridgeNeed = (node: Node, { ips }: Attachment) => ({
  name: node.bridge,
  mtu: node.mtu,
  promisc: false,
  vlanFiltering: false,
  gateways: gatewayPrefixes(ips),
  forceAddress: true, // the bridge is ours alone: a podCIDR of earlier days goes
});

/** Whether host ports may lead to the pod: nft is asked only then. A link that is gone cannot tell. */
const mayHavePorts = (request: Request, kernel: Kernel, host: string): boolean =>
  (routesLocalnet(kernel, host) ?? true) || asksForPorts(request);

/** Removes what is there; what is not is fine, be it the node file, the namespace or the lease. */
async function del(request: Request, machine: Machine): Promise<void> {
  const { kernel } = machine;
  const id = idOf(request);
  const host = hostVethName(id);
  const hasPorts = mayHavePorts(request, kernel, host);
  const ifbs = ifbsOf(kernel, shapedLinks(request, host));
  if (hasPorts) kernel.standBy([...portmapPrograms, 'ip']);
  await settle([
    hasPorts ? removePortmap(machine, attachmentMark(id)) : undefined,
    removeVeth(kernel, host, request.netns, request.ifname, ifbs),
  ]);
  new Leases(leaseDir(nodeFileOf(request)), request.name).release(request);
}

const nodeFileOf = (request: Request): string => {
  const file = request.conf['nodeFile'];
  return typeof file === 'string' && file !== '' ? file : defaultNodeFile;
};

async function check(request: Request, machine: Machine): Promise<void> {
  const conf = decodeCulvertConf(request);
  requireNetns(request);
  const node = readNode(conf.nodeFile);
  const previous = requirePrevResult(request);
  const held = new Leases(node.dataDir, request.name).held(request);
  const problems: Problem[] = previous.ips
    .filter((ip) => !held.some((a) => equalAddress(a, ip.address.address)))
    .map((ip) => ({ path: 'lease', got: 'nothing', want: formatAddress(ip.address.address) }));

  const leased = previous.ips.map(({ address, gateway }) => ({ address, gateway: gateway ?? address.address }));
  const mac = previous.interfaces.find((i) => i.sandbox)?.mac;
  const wanted = planAttachment(request, node, leased, { ...conf, mac });
  const { kernel } = machine;
  const [host, pod, ...asked] = await Promise.all([
    readAll(kernel),
    readAll(kernel, request.netns),
    shapingProblems(kernel, wanted.host, wanted.shaping),
    portmapProblems(request, kernel, wanted.portmap),
  ]);
  // `addr show` does not tell how link-local addresses come about
  const links = wanted.onHost.links.map(({ addrGenMode: _, ...link }) => link);
  const onHost = mergeStates({ ...wanted.onHost, links, sysctls: [] });
  const inPod = mergeStates({ ...wanted.inPod, sysctls: [] });
  const ends = [
    host.links.find((l) => l.name === wanted.host),
    pod.links.find((l) => l.name === request.ifname),
  ] as const;
  problems.push(
    ...differences(host.state, onHost),
    ...differences(pod.state, inPod).map((p) => ({ ...p, path: `container: ${p.path}` })),
    ...pairProblems(...ends, wanted.host, request.ifname),
    ...asked.flat(),
  );
  if (problems.length > 0) throw driftError(problems);
}

async function gc(request: Request, machine: Machine): Promise<void> {
  const valid = readValidAttachments(request.conf).map((v) => ({ network: request.name, ...v }));
  const keys = new Set(valid.map((v) => `${v.containerId}\0${v.ifname}`));
  await settle([
    sweepVeths(machine.kernel, request.name, valid, ['veth', 'ifb']),
    sweepPortmap(machine, labelKeeper(request.name, valid)),
  ]);
  new Leases(leaseDir(nodeFileOf(request)), request.name).sweep((o) => keys.has(`${o.containerId}\0${o.ifname}`));
}

async function status(request: Request, { kernel }: Machine): Promise<void> {
  const node = readNode(decodeCulvertConf(request).nodeFile);
  await requireAddresses(kernel, node);
  const sets = podRanges(node);
  const usage = new Leases(node.dataDir, request.name).usage(sets);
  const full = usage.findIndex((u) => u.taken >= u.size);
  if (full < 0) return;
  const range = formatRangeSet(sets[full]!);
  throw new CniError(code.notAvailable, `no free address in ${range}`, 'delete pods or give the node another podCIDR');
}

export const culvert: Plugin<Machine> = {
  name: 'culvert',
  about: 'attaches pods to the cluster network that "culvert agent" maintains',
  decode: decodeCulvertConf,
  add,
  del,
  check,
  gc,
  status,
};

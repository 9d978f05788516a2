/**
 * culvert: the one plugin a cluster needs. The agent has written what this node is (node.json: podCIDRs, MTU, way of attaching);
 * ADD leases an address out of the podCIDRs and attaches the pod with two child processes. It works from that file with the
 * agent down; masquerade and the paths to other nodes are the agent's.
 */

import { apply } from '../src/apply/apply.ts';
import { withBridge } from '../src/apply/bridge.ts';
import { differences, pairProblems, readAll } from '../src/apply/check.ts';
import { settle } from '../src/apply/settle.ts';
import { UndoStack } from '../src/apply/undo.ts';
import { addVeth, batchPath, removeVeth, sweepVeths } from '../src/apply/veth.ts';
import { readValidAttachments, requirePrevResult } from '../src/cni/conf.ts';
import { code, driftError } from '../src/cni/error.ts';
import { type Plugin, requireNetns } from '../src/cni/skel.ts';
import type { IpConfig, Request, Result, Route } from '../src/cni/types.ts';
import type { Problem } from '../src/errors.ts';
import { CniError } from '../src/errors.ts';
import type { Kernel } from '../src/kernel/kernel.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { type Address, equalAddress, formatAddress } from '../src/net/address.ts';
import { attachmentLabel, hostMac, hostVethName, podMac } from '../src/net/name.ts';
import { defaultPrefix, formatPrefix, hostPrefix, type Prefix } from '../src/net/prefix.ts';
import { formatRangeSet, rangeOf } from '../src/net/range.ts';
import { planForwarding, planPod, planVeth } from '../src/plan/attachment.ts';
import { gatewayPrefixes, gatewaysByFamily } from '../src/plan/bridge.ts';
import { diff } from '../src/plan/diff.ts';
import { emptyState, type LinkState, mergeStates, type NamespaceState } from '../src/plan/host.ts';
import { nextHop, planPtpHost, planPtpPod } from '../src/plan/ptp.ts';
import { Leases } from '../src/store/leases.ts';
import { idOf } from './attachment/veth.ts';
import {
  type CulvertConf,
  decodeCulvertConf,
  defaultNodeFile,
  leaseDir,
  type Node,
  podRanges,
  readNode,
} from './culvert/conf.ts';

/** An attachment as planned: both ends' shares, from what the node is and what the pod was leased. */
interface Attachment {
  host: string;
  hostMac: string;
  podMac: string;
  addresses: readonly Prefix[];
  ips: IpConfig[];
  routes: Route[];
  onHost: Partial<NamespaceState>;
  inPod: Partial<NamespaceState>;
}

/** Plans the attachment of leased addresses (with their podCIDR's length). `mac` is the address asked for, if any. */
function plan(
  request: Request,
  node: Node,
  leased: readonly { address: Prefix; gateway: Address }[],
  mac?: string,
): Attachment {
  const id = idOf(request);
  const routed = node.attach === 'ptp';
  const ends = {
    host: hostVethName(id),
    hostMac: hostMac(id),
    podMac: mac ?? podMac(id),
  };
  const ips = leased.map(({ address, gateway }) =>
    routed
      ? { address: hostPrefix(address.address), gateway: nextHop[address.address.family], interface: 1 }
      : { address, gateway, interface: 2 },
  );
  const gateways = gatewaysByFamily(ips);
  const routes = [...gateways].map(([family, gw]) => ({ dst: defaultPrefix(family), gw }));
  const addresses = ips.map((ip) => ip.address);
  const share = { ifname: request.ifname, addresses, gateways, duplicateAddressDetection: false };
  const ptp = {
    ...ends,
    ifname: request.ifname,
    addresses: addresses.map((a) => a.address),
    nodeAddresses: node.addresses,
  };
  const veth = planVeth({
    ...ends,
    pod: request.ifname,
    netns: request.netns,
    mtu: node.mtu,
    label: attachmentLabel(id),
  });
  if (!routed) {
    const port: LinkState = { ...veth, master: node.bridge, hairpin: true };
    return { ...ends, addresses, ips, routes, onHost: { links: [port] }, inPod: planPod({ ...share, routes }) };
  }
  const pod = planPod({ ...share, routes: [] });
  return {
    ...ends,
    addresses,
    ips,
    routes,
    onHost: { links: [veth], ...planPtpHost(ptp) },
    inPod: { ...pod, ...planPtpPod(ptp) },
  };
}

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
  await using undo = new UndoStack(machine);

  const attachment = plan(
    { ...request, netns: batchPath(request.netns) },
    node,
    lease(request, node, conf, undo),
    conf.mac,
  );
  for (const sysctl of planForwarding(attachment.addresses.map((a) => a.address.family))) kernel.writeSysctl(sysctl);
  const bridge = await attachHost(kernel, node, attachment, undo);
  const fresh: LinkState = { name: request.ifname, make: { kind: 'given' }, up: false };
  await apply(diff({ ...emptyState(), links: [fresh] }, mergeStates(attachment.inPod)), kernel, request.netns);
  undo.commit();

  const mtu = node.mtu;
  return {
    interfaces: [
      ...(bridge ? [bridge] : []),
      { name: attachment.host, mac: attachment.hostMac, mtu },
      { name: request.ifname, mac: attachment.podMac, mtu, sandbox: request.netns },
    ],
    ips: attachment.ips,
    routes: attachment.routes,
    dns: {},
  };
}

/** Makes the host's end; with `attach: bridge` the bridge as well, which is answered. */
async function attachHost(kernel: Kernel, node: Node, attachment: Attachment, undo: UndoStack) {
  if (node.attach === 'ptp') {
    undo.push(await addVeth(kernel, attachment.onHost));
    return undefined;
  }
  return withBridge(kernel, bridgeNeed(node, attachment), async ({ mac, changes }) => {
    undo.push(await addVeth(kernel, attachment.onHost, { before: changes }));
    return { name: node.bridge, mac };
  });
}

const bridgeNeed = (node: Node, { ips }: Attachment) => ({
  name: node.bridge,
  mtu: node.mtu,
  promisc: false,
  vlanFiltering: false,
  gateways: gatewayPrefixes(ips),
  forceAddress: true, // the bridge is ours alone: a podCIDR of earlier days goes
});

/** Removes what is there; what is not is fine, be it the node file, the namespace or the lease. */
async function del(request: Request, machine: Machine): Promise<void> {
  await settle([removeVeth(machine.kernel, hostVethName(idOf(request)), request.netns, request.ifname)]);
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
  const podMac = previous.interfaces.find((i) => i.sandbox)?.mac;
  const wanted = plan(request, node, leased, podMac);
  const [host, pod] = await Promise.all([readAll(machine.kernel), readAll(machine.kernel, request.netns)]);
  const onHost = mergeStates({ ...wanted.onHost, sysctls: [] });
  const inPod = mergeStates({ ...wanted.inPod, sysctls: [] });
  const ends = [
    host.links.find((l) => l.name === wanted.host),
    pod.links.find((l) => l.name === request.ifname),
  ] as const;
  problems.push(
    ...differences(host.state, onHost),
    ...differences(pod.state, inPod).map((p) => ({ ...p, path: `container: ${p.path}` })),
    ...pairProblems(...ends, wanted.host, request.ifname),
  );
  if (problems.length > 0) throw driftError(problems);
}

async function gc(request: Request, machine: Machine): Promise<void> {
  const valid = readValidAttachments(request.conf).map((v) => ({ network: request.name, ...v }));
  const keys = new Set(valid.map((v) => `${v.containerId}\0${v.ifname}`));
  await sweepVeths(machine.kernel, request.name, valid);
  new Leases(leaseDir(nodeFileOf(request)), request.name).sweep((o) => keys.has(`${o.containerId}\0${o.ifname}`));
}

async function status(request: Request): Promise<void> {
  const node = readNode(decodeCulvertConf(request).nodeFile);
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

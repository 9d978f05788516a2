/**
 * bridge: a veth pair between the container and a bridge on the host, addresses from an IPAM plugin, the host as gateway.
 * Drop-in for the reference plugin of the same name: its keys, its result, its leases on disk.
 *
 *   pod eth0 ── veth1a2b3c4d ┐
 *   pod eth0 ── veth5e6f7a8b ┴ cni0 (gateway address) ── routing, masquerade ── the host's links
 */

import { ensureVlanGateway, initialVlans, withBridge } from '../src/apply/bridge.ts';
import { removeGuards } from '../src/apply/macspoofchk.ts';
import { settle } from '../src/apply/settle.ts';
import { UndoStack } from '../src/apply/undo.ts';
import { addVeth } from '../src/apply/veth.ts';
import { type Plugin, requireNetns } from '../src/cni/skel.ts';
import type { Interface, Request, Result } from '../src/cni/types.ts';
import { runningLink } from '../src/kernel/ifaddrs.ts';
import type { Kernel } from '../src/kernel/kernel.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { hostVethName } from '../src/net/name.ts';
import { planForwarding, planPortVlans, planVeth, type VethPair } from '../src/plan/attachment.ts';
import { type GuardedPort, guardPort } from '../src/plan/macspoofchk.ts';
import { beginMasquerade } from './attachment/masquerade.ts';
import { collect, removeAttachment } from './attachment/remove.ts';
import { applyPod, forward, hasFlag, idOf, obtainAddresses, standBy } from './attachment/veth.ts';
import { check } from './bridge/check.ts';
import { type BridgeConf, decodeBridgeConf } from './bridge/conf.ts';
import {
  bridgeNeed,
  complete,
  type Given,
  gatewaysOf,
  pairOf,
  podShare,
  portAttributes,
  portVlans,
} from './bridge/plan.ts';

async function add(request: Request, machine: Machine): Promise<Result> {
  const notes: string[] = [];
  const conf = decodeBridgeConf(request, notes);
  for (const note of notes) machine.warn(`bridge: ${note}`);
  requireNetns(request);
  const { kernel } = machine;
  const pair = pairOf(request, conf);
  // the first ADD of a bridge asks more of ip than one batch
  if (runningLink(conf.bridge)) standBy(request, kernel, conf);
  await using undo = new UndoStack(machine);

  let { dns } = conf;
  let given: Given = { ips: [], routes: [] };
  if (conf.ipamType) {
    const answer = await obtainAddresses(conf.ipamType, request, machine, undo);
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

/** A bridge at rest has no pod yet. */
const masquerade = (request: Request, conf: BridgeConf, { ips }: Given, kernel: Kernel, undo: UndoStack) =>
  beginMasquerade(
    request,
    ips.map((ip) => ip.address),
    kernel,
    undo,
    () => runningLink(conf.bridge) === undefined,
  );

async function guard(port: GuardedPort, kernel: Kernel, undo: UndoStack): Promise<void> {
  undo.push(() => removeGuards(kernel, (name) => name === port.port));
  await kernel.nft(guardPort(port));
}

async function del(request: Request, machine: Machine): Promise<void> {
  const host = hostVethName(idOf(request));
  const isGuarded = hasFlag(request, 'macspoofchk');
  await removeAttachment(request, machine, () =>
    isGuarded ? removeGuards(machine.kernel, (port) => port === host) : undefined,
  );
}

const gc = (request: Request, machine: Machine): Promise<void> =>
  collect(request, machine, (keep) =>
    hasFlag(request, 'macspoofchk') ? removeGuards(machine.kernel, (_port, label) => !keep(label)) : undefined,
  );

async function status(request: Request, machine: Machine): Promise<void> {
  const conf = decodeBridgeConf(request);
  if (conf.ipamType) await forward(conf.ipamType, request, machine);
}

export const bridge: Plugin<Machine> = {
  name: 'bridge',
  about: 'connects containers to a Linux bridge on the host',
  decode: decodeBridgeConf,
  add,
  del,
  check,
  gc,
  status,
};

/** The demo's single steps: who is there, what a packet looks like on the way, what full-size packets and DEL do. */

import { existsSync, readdirSync } from 'node:fs';
import type { Machine } from '../kernel/machine.ts';
import { type Family, formatAddress, parseAddress } from '../net/address.ts';
import { Capture, echoLength } from './capture.ts';
import { type Check, type Sight, shareSegment } from './check.ts';
import type { Lab } from './lab.ts';
import { type Endpoint, ping } from './ping.ts';
import { addressesOfAttachment, readAttachment } from './pods.ts';
import type { Node, Topology } from './topology.ts';

const byFamily = (addresses: readonly string[]): Endpoint['addresses'] =>
  Object.fromEntries(
    addresses.flatMap((a) => {
      const parsed = parseAddress(a);
      return parsed ? [[parsed.family, a]] : [];
    }),
  );

export function endpointsOf(
  lab: Lab,
  topology: Topology,
): { pods: Endpoint[]; nodes: Endpoint[]; outside: Endpoint[] } {
  const ofPorts = (ports: Node['ports']) =>
    byFamily(ports.flatMap((p) => p.addresses.map((a) => formatAddress(a.address))));
  return {
    pods: topology.nodes.flatMap((n) =>
      n.pods.map((pod): Endpoint => {
        const attachment = readAttachment(lab.place, n.name, pod);
        const addresses = byFamily(attachment ? addressesOfAttachment(attachment) : []);
        return { kind: 'pod', host: pod, node: n.name, addresses };
      }),
    ),
    nodes: topology.nodes.map((n) => ({ kind: 'node', host: n.name, node: n.name, addresses: ofPorts(n.ports) })),
    outside: topology.outside
      ? [{ kind: 'outside', host: topology.outside.name, node: '', addresses: ofPorts(topology.outside.ports) }]
      : [],
  };
}

/** The first node with another on its segment, and with one behind a router. */
export function pairsOf(topology: Topology): { same: [Node, Node] | undefined; across: [Node, Node] | undefined } {
  const [first, ...others] = topology.nodes;
  const find = (isSame: boolean) => others.find((n) => n.pods.length > 0 && shareSegment(first!, n) === isSame);
  const [same, across] = [find(true), find(false)];
  return { same: same && [first!, same], across: across && [first!, across] };
}

/** Sends one echo between two nodes' pods and looks at it on the sender's segment: at the router where one is between. */
export async function sightOf(
  lab: Lab,
  topology: Topology,
  [a, b]: [Node, Node],
  family: Family,
  machine: Machine,
): Promise<Sight> {
  const { place } = lab;
  const { pods } = endpointsOf(lab, topology);
  const [from, to] = [a, b].map((n) => pods.find((p) => p.node === n.name)!) as [Endpoint, Endpoint];
  const router = shareSegment(a, b)
    ? undefined
    : topology.routers.find((r) => r.ports.some((p) => p.segment === a.ports[0]!.segment));
  const host = router ?? a;
  const port = host.ports.find((p) => a.ports.some((q) => q.segment === p.segment))!;
  const payloadBytes = 64;
  const capture = await Capture.start(place, { host: host.name, ifname: port.ifname, filter: 'udp or icmp or icmp6' });
  await ping(place.netns(from.host), to.addresses[family]!, { payloadBytes }, machine);
  const packets = await capture.stop();
  const packet = packets.find((p) => p.dst === to.addresses[family] && echoLength(p) === payloadBytes + 8);
  const where = `${host.name} ${port.ifname}`;
  return { from: from.host, to: to.host, fromNode: a.name, toNode: b.name, family, where, packet };
}

export async function podMtuBytes(lab: Lab, pod: string, { kernel }: Machine): Promise<number> {
  const [shown = []] = await kernel.show(['link show dev eth0'], lab.place.netns(pod));
  return (shown[0] as { mtu: number }).mtu;
}

/** What an echo of a given packet length carries: the length less the IP and the ICMP header. */
const payloadOf: Record<Family, (mtuBytes: number) => number> = { 4: (mtu) => mtu - 28, 6: (mtu) => mtu - 48 };

/** Packets as long as the pods' MTU between all nodes, which nobody on the way may fragment. */
export async function checkFullSize(
  lab: Lab,
  topology: Topology,
  pods: readonly Endpoint[],
  machine: Machine,
): Promise<Check> {
  const firsts = topology.nodes.flatMap((n) => pods.find((p) => p.node === n.name) ?? []);
  const lost: string[] = [];
  let sent = 0;
  const mtus = new Set<number>();
  for (const from of firsts) {
    const mtuBytes = await podMtuBytes(lab, from.host, machine);
    mtus.add(mtuBytes);
    for (const to of firsts.filter((t) => t !== from)) {
      for (const family of topology.families) {
        const options = { payloadBytes: payloadOf[family](mtuBytes), unfragmented: true };
        const rtts = await ping(lab.place.netns(from.host), to.addresses[family]!, options, machine);
        sent++;
        if (rtts.length === 0) lost.push(`${from.host} > ${to.host} IPv${family}`);
      }
    }
  }
  const size = [...mtus].join(' and ');
  return {
    what: `packets of the pods' full MTU, ${size} bytes, pass whole`,
    ok: lost.length === 0 && sent > 0,
    want: `${sent} of ${sent} pings answered`,
    got: `${sent - lost.length} of ${sent} pings answered${lost.length > 0 ? `; not ${lost.slice(0, 3).join('; ')}` : ''}`,
  };
}

/** DEL of every pod: no lease and no link of a pod may stay on a node. */
export async function checkDetach(lab: Lab, topology: Topology, { kernel }: Machine): Promise<Check> {
  const left: string[] = [];
  for (const node of topology.nodes) {
    for (const pod of node.pods) await lab.pods(node.name).detach(pod);
    const { leases } = lab.place.node(node.name);
    const held = existsSync(leases)
      ? readdirSync(leases, { recursive: true, encoding: 'utf8' }).filter((f) => parseAddress(f.split('/').at(-1)!))
      : [];
    const [shown = []] = await kernel.show(['link show type veth'], lab.place.netns(node.name));
    const links = (shown as { ifname: string }[]).map((l) => l.ifname).filter((name) => name.startsWith('veth'));
    left.push(...held.map((f) => `lease ${f} on ${node.name}`), ...links.map((l) => `link ${l} on ${node.name}`));
  }
  const want = 'no lease and no link left';
  return {
    what: 'every pod detached by DEL',
    ok: left.length === 0,
    want,
    got: left.length === 0 ? want : left.join('; '),
  };
}

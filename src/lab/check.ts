/** What the demo promises, round by round: each a sentence with what was expected and what was found. Pure. */

import { type Family, formatAddress } from '../net/address.ts';
import type { Packet } from './capture.ts';
import type { Endpoint, Ping } from './ping.ts';
import type { Node, Topology } from './topology.ts';

export interface Check {
  what: string;
  ok: boolean;
  want: string;
  got: string;
}

/** One mode of the network, as the demo shows it. */
export interface Round {
  title: string;
  /** Agent settings of all nodes. */
  settings: { mode: 'vxlan' | 'routed'; sameSubnet?: 'tunnel' | 'direct' };
}

/** A packet from one pod to another on another node, as it was on the way. */
export interface Sight {
  from: string;
  to: string;
  fromNode: string;
  toNode: string;
  family: Family;
  /** Namespace and interface of the capture. */
  where: string;
  packet: Packet | undefined;
}

export const shareSegment = (a: Node, b: Node): boolean =>
  a.ports.some((p) => b.ports.some((q) => p.segment === q.segment));

const listed = (items: readonly string[]): string =>
  items.length <= 3 ? items.join('; ') : `${items.slice(0, 3).join('; ')}; and ${items.length - 3} more`;

function answered(what: string, pings: readonly Ping[]): Check {
  const lost = pings.filter((p) => !p.ok).map((p) => `${p.from} > ${p.to} IPv${p.family}`);
  return {
    what,
    ok: pings.length > 0 && lost.length === 0,
    want: `${pings.length} of ${pings.length} pings answered`,
    got: `${pings.length - lost.length} of ${pings.length} pings answered${lost.length > 0 ? `; not ${listed(lost)}` : ''}`,
  };
}

/** `expected` answers the addresses under which a ping may arrive. */
function seen(what: string, want: string, pings: readonly Ping[], expected: (p: Ping) => readonly string[]): Check {
  const wrong = pings
    .filter((p) => !expected(p).includes(p.seenAs ?? ''))
    .map((p) => `${p.from} > ${p.to} as ${p.seenAs ?? 'nobody'}, not ${expected(p).join(' or ')}`);
  return {
    what,
    ok: pings.length > 0 && wrong.length === 0,
    want,
    got: wrong.length === 0 ? want : listed(wrong),
  };
}

/** Whether a node sees a pod of another node under the pod's own address: it does where the way back is known. */
function isUnmasked(round: Round, topology: Topology, podNode: string, node: string): boolean {
  if (podNode === node || round.settings.mode === 'routed') return true;
  const [a, b] = [podNode, node].map((name) => topology.nodes.find((n) => n.name === name)!);
  return shareSegment(a!, b!);
}

/** Everything the pings of a round should show. */
export function checkPings(
  round: Round,
  topology: Topology,
  ends: readonly Endpoint[],
  pings: readonly Ping[],
): Check[] {
  const end = new Map(ends.map((e) => [e.host, e]));
  const of = (from: Endpoint['kind'], to: Endpoint['kind']) =>
    pings.filter((p) => end.get(p.from)!.kind === from && end.get(p.to)!.kind === to);
  const own = (p: Ping) => [end.get(p.from)!.addresses[p.family]!];
  const nodeAddresses = (p: Ping) =>
    topology.nodes
      .find((n) => n.name === end.get(p.from)!.node)!
      .ports.flatMap((port) => port.addresses.map((a) => formatAddress(a.address)));
  const toNodes = of('pod', 'node');
  const unmasked = toNodes.filter((p) => isUnmasked(round, topology, end.get(p.from)!.node, p.to));
  const masked = toNodes.filter((p) => !unmasked.includes(p));
  const checks = [
    answered('pods reach pods', of('pod', 'pod')),
    seen('pods see pods', "the pod's own address", of('pod', 'pod'), own),
    answered('pods reach nodes', toNodes),
    seen('nodes that know the way back see pods', "the pod's own address", unmasked, own),
    answered('nodes reach pods', of('node', 'pod')),
  ];
  if (masked.length > 0)
    checks.push(seen('nodes behind a router see pods', "the address of the pod's node", masked, nodeAddresses));
  const outside = of('pod', 'outside');
  if (outside.length > 0) {
    checks.push(answered('pods reach the outside', outside));
    checks.push(seen('the outside sees pods', "the address of the pod's node", outside, nodeAddresses));
  }
  return checks;
}

/** Whether packets between two nodes' pods should be encapsulated. */
export function isTunnelled(round: Round, a: Node, b: Node): boolean {
  if (round.settings.mode !== 'vxlan') return false;
  return round.settings.sameSubnet !== 'direct' || !shareSegment(a, b);
}

export function checkSight(round: Round, topology: Topology, sight: Sight): Check {
  const node = (name: string) => topology.nodes.find((n) => n.name === name)!;
  const want = isTunnelled(round, node(sight.fromNode), node(sight.toNode)) ? 'VXLAN' : 'plain';
  const got = sight.packet ? (sight.packet.outer ? 'VXLAN' : 'plain') : 'no packet';
  return {
    what: `IPv${sight.family} from ${sight.fromNode} to ${sight.toNode} on the wire`,
    ok: want === got,
    want,
    got,
  };
}

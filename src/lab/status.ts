/** How a lab is: agents, pods and the way packets take between nodes, asked of processes and kernels and not of our own files. */

import { linksOf } from '../apply/read.ts';
import { isObject } from '../decode.ts';
import type { Machine } from '../kernel/machine.ts';
import { netnsState } from '../kernel/netns.ts';
import { type Family, formatAddress } from '../net/address.ts';
import { formatPrefix, networkAddress } from '../net/prefix.ts';
import { type AgentHealth, agentHealth, agentProcess } from './agents.ts';
import type { Lab } from './lab.ts';
import { addressesOfAttachment, readAttachment } from './pods.ts';
import type { Node, Topology } from './topology.ts';

export interface PodStatus {
  name: string;
  addresses: string[];
  attached: boolean;
}

export interface NodeStatus {
  name: string;
  mode: string;
  agent: AgentHealth;
  pid: number | undefined;
  addresses: string[];
  podCIDRs: string[];
  pods: PodStatus[];
}

/** How a node reaches another node's pods in one family: through a tunnel, plainly to the node, plainly by a router, or not. */
export interface PathStatus {
  from: string;
  to: string;
  family: Family;
  path: string;
}

export interface LabStatus {
  lab: string;
  nodes: NodeStatus[];
  paths: PathStatus[];
  healthy: boolean;
}

async function nodeStatus(lab: Lab, node: Node, machine: Machine): Promise<NodeStatus> {
  const { place } = lab;
  return {
    name: node.name,
    mode: [node.agent['mode'] ?? 'vxlan', node.agent['sameSubnet'] === 'direct' ? '(same subnet: direct)' : '']
      .join(' ')
      .trim(),
    agent: await agentHealth(place, node.name, machine),
    pid: agentProcess(place, node.name)?.pid,
    addresses: node.ports.flatMap((p) => p.addresses.map((a) => formatAddress(a.address))),
    podCIDRs: node.podCIDRs.map(formatPrefix),
    pods: node.pods.map((name) => {
      const attachment = readAttachment(place, node.name, name);
      const attached = attachment?.result !== undefined && netnsState(place.netns(name)) === 'namespace';
      return { name, attached, addresses: attachment ? addressesOfAttachment(attachment) : [] };
    }),
  };
}

/** The path behind one answer of `ip -j route get`. */
function pathOf(answer: unknown, kinds: Map<string, string>, peer: Node): string {
  const route = isObject(answer) ? answer : {};
  const dev = String(route['dev'] ?? '');
  const kind = kinds.get(dev) ?? '';
  const via = String(route['gateway'] ?? (isObject(route['via']) ? route['via']['host'] : ''));
  if (['vxlan', 'ipip', 'sit', 'ip6tnl', 'wireguard'].includes(kind)) return kind;
  const isPeer = peer.ports.some((p) => p.addresses.some((a) => formatAddress(a.address) === via));
  if (isPeer) return 'direct';
  return via === '' ? 'none' : `via ${via}`;
}

async function pathsFrom(lab: Lab, from: Node, topology: Topology, { kernel, exec }: Machine): Promise<PathStatus[]> {
  const netns = lab.place.netns(from.name);
  const asked = topology.nodes
    .filter((n) => n !== from)
    .flatMap((to) =>
      to.podCIDRs.map((prefix) => ({ to, family: prefix.address.family, address: networkAddress(prefix) })),
    );
  const kinds = new Map(linksOf((await kernel.show(['link show'], netns))[0] ?? []).map((l) => [l.name, l.kindName]));
  return Promise.all(
    asked.map(async ({ to, family, address }) => {
      // the first address after the network's own: a pod's, or one that a pod could have
      const target = formatAddress({ family, value: address.value + 2n });
      const text = await exec(['ip', '-j', 'route', 'get', target], { netns }).catch(() => '[]');
      const answer = (JSON.parse(text) as unknown[])[0];
      return { from: from.name, to: to.name, family, path: pathOf(answer, kinds, to) };
    }),
  );
}

/** Throws an Error when there is no such lab. */
export async function labStatus(lab: Lab, machine: Machine): Promise<LabStatus> {
  const topology = lab.topology();
  if (!topology)
    throw new Error(`there is no lab "${lab.place.lab}" below ${lab.place.dir}: culvert lab up FILE makes one`);
  const present = topology.nodes.filter((n) => netnsState(lab.place.netns(n.name)) === 'namespace');
  const nodes = await Promise.all(topology.nodes.map((n) => nodeStatus(lab, n, machine)));
  const paths = (await Promise.all(present.map((n) => pathsFrom(lab, n, topology, machine)))).flat();
  const healthy =
    nodes.every((n) => n.agent === 'ready' && n.pods.every((p) => p.attached)) && paths.every((p) => p.path !== 'none');
  return { lab: lab.place.lab, nodes, paths, healthy };
}

/** Two nodes with a pod each, in namespaces: connected by our agents and plugin, or by devices made by hand as flannel makes them. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent } from './agent.ts';
import type { Bench } from './section.ts';
import { run as runLine } from './suite.ts';

export const modes = ['vxlan', 'ipip', 'wireguard', 'routed'] as const;
export type Mode = (typeof modes)[number];

/** How long a pod's packet may be with flannel. */
const mtuBytes: Readonly<Record<Mode, number>> = { vxlan: 1450, ipip: 1480, wireguard: 1420, routed: 1500 };
/** What flannel calls it. */
export const backend: Readonly<Record<Mode, string>> = {
  vxlan: 'vxlan',
  ipip: 'ipip',
  wireguard: 'wireguard',
  routed: 'host-gw',
};
/** A link that the mode takes of the kernel. */
export const linkOf: Readonly<Partial<Record<Mode, string>>> = {
  ipip: 'ipip local 127.0.0.1',
  wireguard: 'wireguard',
};

const indices = [1, 2] as const;
export type Index = (typeof indices)[number];
const other = (i: Index): Index => (i === 1 ? 2 : 1);

const nodeAddress = (i: Index): string => `192.168.7.${i}`;
const podCidr = (i: Index): string => `10.244.${i}.0/24`;
export const podAddress = (i: Index): string => `10.244.${i}.2`;
const vtepMac = (i: Index): string => `02:00:00:00:00:0${i}`;

/** Two nodes on one link, a pod on each: `PREFIXnode1`, `PREFIXpod1` and so on. */
export class Place {
  readonly prefix: string;

  constructor(prefix: string) {
    this.prefix = prefix;
    for (const i of indices) for (const host of [this.node(i), this.pod(i)]) runLine(`ip netns add ${host}`);
    runLine(`ip link add eth0 netns ${this.node(1)} type veth peer name eth0 netns ${this.node(2)}`);
    for (const i of indices) {
      this.lines(i, ['addr add ADDRESS/24 dev eth0', 'link set eth0 up', 'link set lo up']);
      runLine(`nsenter --net=/run/netns/${this.node(i)} sysctl -qw net.ipv4.ip_forward=1`);
    }
  }

  node(i: Index): string {
    return `${this.prefix}node${i}`;
  }

  pod(i: Index): string {
    return `${this.prefix}pod${i}`;
  }

  /** `ip` on a node. */
  lines(i: Index, lines: readonly string[]): void {
    for (const line of lines) runLine(`ip -n ${this.node(i)} ${line.replace('ADDRESS', nodeAddress(i))}`);
  }

  [Symbol.dispose](): void {
    for (const i of indices) for (const host of [this.pod(i), this.node(i)]) runLine(`ip netns del ${host}`);
  }
}

/** flannel's device and routes. */
function wayByHand(mode: Mode, i: Index): string[] {
  const [peer, mtu] = [other(i), mtuBytes[mode]];
  const own = `10.244.${i}.0/32`;
  switch (mode) {
    case 'routed':
      return [`route add ${podCidr(peer)} via ${nodeAddress(peer)}`];
    case 'vxlan':
      return [
        `link add flannel.1 address ${vtepMac(i)} type vxlan id 1 local ADDRESS dev eth0 nolearning dstport 8472`,
        `link set flannel.1 mtu ${mtu} up`,
        `addr add ${own} dev flannel.1`,
        `neigh add 10.244.${peer}.0 lladdr ${vtepMac(peer)} dev flannel.1 nud permanent`,
        `route add ${podCidr(peer)} via 10.244.${peer}.0 dev flannel.1 onlink`,
      ];
    case 'ipip':
      return [
        'link add flannel.ipip type ipip local ADDRESS',
        `link set flannel.ipip mtu ${mtu} up`,
        `addr add ${own} dev flannel.ipip`,
        `route add ${podCidr(peer)} via ${nodeAddress(peer)} dev flannel.ipip onlink`,
      ];
    case 'wireguard':
      return [
        'link add flannel-wg type wireguard',
        `link set flannel-wg mtu ${mtu}`,
        `addr add ${own} dev flannel-wg`,
        'link set flannel-wg up',
        `route add ${podCidr(peer)} dev flannel-wg`,
      ];
    default:
      return mode satisfies never;
  }
}

const wireguardKey = (i: Index): string => Buffer.alloc(32, i).toString('base64');

/** flannel's WireGuard: keys, port and the one peer. */
function setPeer(node: string, i: Index, dir: string): void {
  const peer = other(i);
  const publicKey = runLine('wg pubkey', wireguardKey(peer)).trim();
  const peerWords = `peer ${publicKey} endpoint ${nodeAddress(peer)}:51820 allowed-ips ${podCidr(peer)}`;
  const file = join(dir, `${node}.key`);
  writeFileSync(file, wireguardKey(i), { mode: 0o600 });
  const line = `wg set flannel-wg listen-port 51820 private-key ${file} ${peerWords}`;
  runLine(`nsenter --net=/run/netns/${node} ${line}`);
}

/** flannel's device, routes and entries, and the bridge of its delegate. */
export function makeByHand(place: Place, mode: Mode, dir: string): void {
  for (const i of indices) {
    const peer = other(i);
    const [node, pod, mtu] = [place.node(i), place.pod(i), mtuBytes[mode]];
    place.lines(i, wayByHand(mode, i));
    if (mode === 'vxlan') runLine(`bridge -n ${node} fdb add ${vtepMac(peer)} dev flannel.1 dst ${nodeAddress(peer)}`);
    if (mode === 'wireguard') setPeer(node, i, dir);
    place.lines(i, [
      `link add cni0 mtu ${mtu} type bridge`,
      `addr add 10.244.${i}.1/24 dev cni0`,
      'link set cni0 up',
      `link add veth0 mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${pod}`,
      'link set veth0 master cni0 up',
    ]);
    runLine(`bridge -n ${node} link set dev veth0 hairpin on`);
    for (const line of [
      `addr add ${podAddress(i)}/24 dev eth0`,
      'link set eth0 up',
      `route add default via 10.244.${i}.1`,
    ]) {
      runLine(`ip -n ${pod} ${line}`);
    }
  }
}

/** A pod that is there joins the flowtable with the agent's next look. */
const lookSeconds = 5;

/** An agent on each node, and each pod attached by the plugin. */
export async function makeOurs(bench: Bench, place: Place, mode: Mode, flowtable = false): Promise<Agent[]> {
  const executable = join(bench.culvert.dir, 'culvert');
  const agents: Agent[] = [];
  const dirOf = (i: Index): string => join(bench.dir, `${mode}-${place.node(i)}`);
  const nodes = indices.map((i) => {
    const dir = dirOf(i);
    mkdirSync(dir);
    const paths = Object.fromEntries(['run', 'state', 'cniConf', 'leases'].map((p) => [p, join(dir, p)]));
    const config = join(dir, 'agent.yaml');
    const more = { mode, flowtable, ...(flowtable && { resyncSeconds: lookSeconds }), paths };
    writeFileSync(config, JSON.stringify({ node: `n${i}`, cluster: { file: 'cluster.yaml' }, ...more }));
    const node = { name: `n${i}`, addresses: [nodeAddress(i)], podCIDRs: [podCidr(i)] };
    if (mode !== 'wireguard') return node;
    const shown = runLine(`${executable} keys --json --config ${config}`);
    return { ...node, publicKey: (JSON.parse(shown) as { publicKey: string }).publicKey };
  });
  for (const i of indices) {
    const dir = dirOf(i);
    writeFileSync(join(dir, 'cluster.yaml'), JSON.stringify({ nodes }));
    const config = join(dir, 'agent.yaml');
    const netns = `/run/netns/${place.node(i)}`;
    agents.push(await Agent.start(executable, config, netns));
    const conf = { cniVersion: '1.0.0', name: 'culvert', type: 'culvert', nodeFile: join(dir, 'run/node.json') };
    const variables = {
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: place.pod(i),
      CNI_NETNS: `/run/netns/${place.pod(i)}`,
      CNI_IFNAME: 'eth0',
      CNI_PATH: bench.culvert.dir,
    };
    const env = Object.entries(variables).map(([key, value]) => `${key}=${value}`);
    runLine(`nsenter --net=${netns} env ${env.join(' ')} ${executable}`, JSON.stringify(conf));
  }
  if (flowtable) await sleep(2 * lookSeconds * 1000);
  return agents;
}

/** flannel's rules as its nftables mode has them: they have the kernel track connections, as ours do. */
export function ruleByHand(place: Place): void {
  for (const i of indices) {
    const [cluster, own] = ['10.244.0.0/16', podCidr(i)];
    const table = `table ip flannel-ipv4 {
  chain forward {
    type filter hook forward priority filter
    ip saddr ${cluster} accept
    ip daddr ${cluster} accept
  }
  chain postrtg {
    type nat hook postrouting priority srcnat
    ip saddr ${own} ip daddr ${cluster} return
    ip saddr ${cluster} ip daddr ${own} return
    ip saddr ${cluster} ip daddr != 224.0.0.0/4 masquerade fully-random
    ip saddr != ${cluster} ip daddr ${cluster} masquerade fully-random
  }
}
`;
    runLine(`nsenter --net=/run/netns/${place.node(i)} nft -f -`, table);
  }
}

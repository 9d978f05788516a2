/** A small cluster for planner tests: two nodes on one link, one behind a router, and the first node's host as read. */

import { ViewDecoder } from '../../src/cluster/view.ts';
import type { ClusterView } from '../../src/plan/cluster.ts';
import type { NodeSettings } from '../../src/plan/settings.ts';
import type { HostFacts } from '../../src/plan/underlay.ts';

export type Stack = 'v4' | 'v6' | 'dual';

const pick = (stack: Stack, v4: string, v6: string): string[] => [
  ...(stack === 'v6' ? [] : [v4]),
  ...(stack === 'v4' ? [] : [v6]),
];

/** Nodes n1, n2 (one link) and n3 (behind the router); addresses and podCIDRs of the given families. */
export const nodesOf = (underlay: Stack, pods: Stack): { name: string; addresses: string[]; podCIDRs: string[] }[] =>
  [
    ['n1', '192.168.1.11', 'fd01::11', 1],
    ['n2', '192.168.1.12', 'fd01::12', 2],
    ['n3', '192.168.2.13', 'fd02::13', 3],
  ].map(([name, a4, a6, i]) => ({
    name: String(name),
    addresses: pick(underlay, String(a4), String(a6)),
    podCIDRs: pick(pods, `10.244.${i}.0/24`, `fd00:244:${i}::/64`),
  }));

/** A public key as good as any, of the node with this number. */
export const keyOf = (i: number): string => Buffer.alloc(32, i).toString('base64');

/** What nodes have beside names, addresses and podCIDRs. */
export type More = (i: number) => object;

export const viewOf = (underlay: Stack, pods: Stack, more: More = () => ({})): ClusterView =>
  new ViewDecoder().decode({ nodes: nodesOf(underlay, pods).map((node, i) => ({ ...node, ...more(i + 1) })) });

export const settings: NodeSettings = {
  node: 'n1',
  mode: 'vxlan',
  sameSubnet: 'tunnel',
  behindRouter: 'refuse',
  mtu: 'auto',
  masquerade: true,
  flowtable: false,
  vxlan: { id: 1, port: 4789 },
  wireguard: {
    port: 51820,
    keepaliveSeconds: 0,
    keys: { publicKey: keyOf(1), privateKeyFile: '/var/lib/culvert/wireguard.key' },
  },
  auto: { candidates: ['routed', 'ipip', 'vxlan', 'wireguard'] },
  bgp: { as: 64512, bfd: false, gracefulRestartSeconds: 120, peers: [] },
};

export const host: HostFacts = {
  links: [
    { name: 'lo', make: { kind: 'given' }, mtu: 65536 },
    { name: 'eth0', make: { kind: 'given' }, address: '52:54:00:00:00:01', mtu: 1500 },
  ],
  addresses: [
    { dev: 'lo', address: '127.0.0.1/8' },
    { dev: 'eth0', address: '192.168.1.11/24' },
    { dev: 'eth0', address: 'fd01::11/64' },
  ],
  routes: [
    { prefix: '0.0.0.0/0', via: '192.168.1.1', dev: 'eth0', protocol: 'static' },
    { prefix: '192.168.1.0/24', dev: 'eth0', protocol: 'kernel', scope: 'link', src: '192.168.1.11' },
    { prefix: '::/0', via: 'fd01::1', dev: 'eth0', protocol: 'static' },
    { prefix: 'fd01::/64', dev: 'eth0', protocol: 'kernel', metric: 256 },
  ],
  hasIpv6: true,
  strict: [],
  advertised: [],
};

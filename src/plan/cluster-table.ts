/**
 * The agent's nft table, `inet culvert_cluster`: lets pod traffic through the forward hook, bounds its segments, and masquerades what leaves the
 * cluster. Three sets per family hold all that grows with it: `pods` (every podCIDR), `own` (this node's) and `nodes` (node
 * addresses that may see a pod's own address).
 */

import { type Family, families } from '../net/address.ts';
import { Aggregate, aggregate } from '../net/aggregate.ts';
import { type Chain, type PrefixSet, renderTable } from '../nftables/ruleset.ts';
import { type ClusterNode, type ClusterView, type NodeAddress, podCidrsOf } from './cluster.ts';
import type { TableState } from './host.ts';

export const clusterTable = 'culvert_cluster';

const match: Readonly<Record<Family, string>> = { 4: 'ip', 6: 'ip6' };
const multicast: Readonly<Record<Family, string>> = { 4: '224.0.0.0/4', 6: 'ff00::/8' };

const name = (set: string, family: Family): string => `${set}${family}`;

/**
 * What is done to packets from and to pods. Connections are told what the routes of both directions let through, so that they begin
 * with segments that fit, whoever drops the messages of routers on the way. An accept here ends only our own chain: a base chain of
 * somebody else may still drop (src/nftables/forward-chains.ts looks for such).
 */
const podChain: Chain = {
  name: 'pods',
  rules: ['tcp flags syn tcp option maxseg size set rt mtu', 'accept'],
};

function forwardChain(inUse: readonly Family[]): Chain {
  return {
    name: 'forward',
    base: 'type filter hook forward priority filter; policy accept;',
    rules: inUse.flatMap((f) =>
      ['saddr', 'daddr'].map((end) => `${match[f]} ${end} @${name('pods', f)} goto ${podChain.name}`),
    ),
  };
}

function masqueradeChain(own: readonly Family[]): Chain {
  return {
    name: 'postrouting',
    base: 'type nat hook postrouting priority srcnat; policy accept;',
    rules: own.map((f) => {
      const not = [`@${name('pods', f)}`, `@${name('nodes', f)}`, multicast[f]].map(
        (to) => `${match[f]} daddr != ${to}`,
      );
      return `${match[f]} saddr @${name('own', f)} ${not.join(' ')} masquerade fully-random`;
    }),
  };
}

export interface ClusterTableInput {
  readonly view: ClusterView;
  readonly own: ClusterNode;
  /** Addresses of nodes that pods reach under their own addresses. */
  readonly unmasked: readonly NodeAddress[];
  readonly masquerade: boolean;
}

const allPods = new Aggregate((node: ClusterNode) => node.podCIDRs.map((p) => p.span));
const allUnmasked = new Aggregate((address: NodeAddress) => [address.span]);

/** The table for a cluster; masquerade off leaves its chain and sets out. */
export function planClusterTable({ view, own, unmasked, masquerade }: ClusterTableInput): TableState {
  const pods = allPods.of(view.nodes);
  const nodes = allUnmasked.of(unmasked);
  const inUse = families.filter((f) => pods[f].length > 0);
  const ownFamilies = masquerade ? families.filter((f) => podCidrsOf(own, f).length > 0) : [];
  const sets: PrefixSet[] = [
    ...inUse.map((family) => ({ name: name('pods', family), family, prefixes: pods[family] })),
    ...ownFamilies.flatMap((family) => [
      { name: name('own', family), family, prefixes: aggregate(podCidrsOf(own, family).map((p) => p.span)) },
      { name: name('nodes', family), family, prefixes: nodes[family] },
    ]),
  ];
  const chains = [podChain, forwardChain(inUse), ...(ownFamilies.length > 0 ? [masqueradeChain(ownFamilies)] : [])];
  return {
    family: 'inet',
    name: clusterTable,
    text: renderTable({ family: 'inet', name: clusterTable, sets, chains }),
  };
}

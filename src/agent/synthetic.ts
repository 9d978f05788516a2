/** Clusters of any size for benchmarks and scale tests. `converge()` of converge.ts plans and applies them. */

import type { Family } from '../net/address.ts';

/** A cluster document, as a cluster file holds it. */
export interface SyntheticCluster {
  nodes: { name: string; addresses: string[]; podCIDRs: string[] }[];
}

/** An interface of the first node has to carry these before it is planned. */
export const syntheticOwnAddresses = ['172.16.0.1/12', 'fd00:172::1/64'] as const;

/** Nodes "node1" to "node<count>" on one link, at most 65,535, with one podCIDR per family. */
export function syntheticCluster(count: number, families: readonly Family[] = [4]): SyntheticCluster {
  const pick = (v4: string, v6: string): string[] => families.map((f) => (f === 4 ? v4 : v6));
  const nodes = Array.from({ length: count }, (_, index) => {
    const i = index + 1;
    const [high, low, hex] = [i >> 8, i & 255, i.toString(16)];
    return {
      name: `node${i}`,
      addresses: pick(`172.16.${high}.${low}`, `fd00:172::${hex}`),
      podCIDRs: pick(`10.${high}.${low}.0/24`, `fd00:244:${hex}::/64`),
    };
  });
  return { nodes };
}

/** The document as people write it. */
export const syntheticYaml = ({ nodes }: SyntheticCluster): string =>
  `nodes:\n${nodes
    .map(
      (n) =>
        `  - name: ${n.name}\n    addresses: [${n.addresses.join(', ')}]\n    podCIDRs: [${n.podCIDRs.join(', ')}]\n`,
    )
    .join('')}`;

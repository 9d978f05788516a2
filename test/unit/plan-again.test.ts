/** What was planned of a node is kept for the next plan: a random walk of cluster, settings and host has to come to what planning anew does. */

import { expect, it } from 'vitest';
import { decodeNode } from '../../src/cluster/view.ts';
import type { ClusterNode } from '../../src/plan/cluster.ts';
import { planNode } from '../../src/plan/node.ts';
import type { NodeSettings } from '../../src/plan/settings.ts';
import type { HostFacts } from '../../src/plan/underlay.ts';
import { host, keyOf, settings } from '../support/cluster.ts';

const pick = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)]!;

/** On our link or behind a router, in our site or another one, with both families or one. */
function node(i: number): ClusterNode {
  const subnet = pick([1, 2]);
  const both = Math.random() < 0.8;
  return decodeNode(
    {
      name: `n${i}`,
      addresses: [`192.168.${subnet}.${10 + i}`, ...(both ? [`fd0${subnet}::${10 + i}`] : [])],
      podCIDRs: [`10.244.${i}.0/24`, ...(both || Math.random() < 0.5 ? [`fd00:244:${i}::/64`] : [])],
      publicKey: keyOf(i),
      ...(i > 1 && pick([{}, { site: 'south' }])),
    },
    'node',
  );
}

const own = decodeNode(
  {
    name: 'n1',
    addresses: ['192.168.1.11', 'fd01::11'],
    podCIDRs: ['10.244.1.0/24', 'fd00:244:1::/64'],
    publicKey: keyOf(1),
  },
  'node',
);

const traffic = () => ({
  mode: pick(['vxlan', 'ipip', 'wireguard', 'routed', 'auto'] as const),
  sameSubnet: pick(['tunnel', 'direct'] as const),
  betweenSites: pick([undefined, undefined, 'wireguard', 'vxlan'] as const),
});

const anySettings = (): NodeSettings => ({
  ...settings,
  ...traffic(),
  ...(Math.random() < 0.3 && { alsoAccept: traffic() }),
  wireguard: { ...settings.wireguard, keepaliveSeconds: pick([0, 25]) },
});

const anyFacts = (): HostFacts => ({
  ...host,
  ...(Math.random() < 0.3 && { links: [host.links[0]!, { ...host.links[1]!, mtu: 1400 }] }),
  ...(Math.random() < 0.3 && { routes: [{ prefix: '192.168.2.0/24', dev: 'eth0', scope: 'link' }, ...host.routes] }),
});

interface Step {
  readonly nodes: readonly ClusterNode[];
  readonly set: NodeSettings;
  readonly facts: HostFacts;
}

function walk(steps: number): Step[] {
  let nodes = Array.from({ length: 8 }, (_, i) => (i === 0 ? own : node(i + 1)));
  let set = anySettings();
  let facts = anyFacts();
  return Array.from({ length: steps }, () => {
    const at = 1 + Math.floor(Math.random() * (nodes.length - 1));
    const unused = [2, 3, 4, 5, 6, 7, 8, 9, 10].filter((i) => !nodes.some((n) => n.name === `n${i}`));
    const does = Math.random();
    if (does < 0.3) nodes = nodes.with(at, node(Number(nodes[at]!.name.slice(1))));
    else if (does < 0.5 && nodes.length > 2) nodes = nodes.toSpliced(at, 1);
    else if (does < 0.7 && unused.length > 0) nodes = nodes.toSpliced(at, 0, node(pick(unused)));
    else if (does < 0.8) set = anySettings();
    else if (does < 0.9) facts = anyFacts();
    const pathMtus = new Map(nodes.slice(1).map((n) => [n.addresses[0]!.text, pick([1500, 1450, 1300])]));
    return { nodes, set, facts: Math.random() < 0.5 ? facts : { ...facts, pathMtus } };
  });
}

function outcome({ nodes, set, facts }: Step): unknown {
  try {
    return planNode({ nodes }, set, facts);
  } catch (error) {
    return (error as Error).message;
  }
}

it('comes to the same as planning anew', () => {
  const steps = walk(1500);
  const again = steps.map(outcome);
  // other objects: nothing of them has been planned before
  const anew = steps.map(({ nodes, set, facts }) => outcome({ nodes: structuredClone(nodes), set, facts }));
  for (const [i, plan] of again.entries()) expect(plan).toEqual(anew[i]);
  expect(again.filter((plan) => typeof plan === 'object').length).toBeGreaterThan(steps.length / 2);
});

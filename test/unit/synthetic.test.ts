import { describe, expect, it } from 'vitest';
import { syntheticCluster, syntheticOwnAddresses, syntheticYaml } from '../../src/agent/synthetic.ts';
import { NodeList } from '../../src/cluster/node-list.ts';
import { ViewDecoder } from '../../src/cluster/view.ts';
import { planNode } from '../../src/plan/node.ts';
import { host, settings } from '../support/cluster.ts';

describe('a synthetic cluster', () => {
  it.each([[4] as const, [4, 6] as const])('can be read and planned for families %s %s', (...families) => {
    const wanted = syntheticCluster(
      300,
      families.filter((f) => f !== undefined),
    );
    const document = new NodeList().parse(syntheticYaml(wanted), 'file');
    expect(document).toEqual(wanted);
    const addresses = syntheticOwnAddresses.map((address) => ({ dev: 'eth0', address }));
    const plan = planNode(new ViewDecoder().decode(document), { ...settings, node: 'node1' }, { ...host, addresses });
    expect(plan.problems).toEqual([]);
    expect(plan.state.routes).toHaveLength(299 * families.length);
  });
});

/**
 * kill -9 of an agent, 50 times at random moments, while the cluster changes under it and a pod's packets go through its host.
 * KILL_SEED repeats the moments.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { pinging } from '../../src/lab/pinging.ts';
import { Fabric } from '../support/agents.ts';
import { nodesOf } from '../support/cluster.ts';
import { Dice } from '../support/dice.ts';

const seed = Number(process.env['KILL_SEED'] ?? Date.now() % 1_000_000);
const kills = 50;
/** A packaged agent is done with its start and first pass well within this. */
const spanMs = 600;
const { chance } = new Dice(seed);

let fabric: Fabric;
beforeAll(() => {
  console.log(`KILL_SEED=${seed}`);
  fabric = new Fabric();
});
afterAll(async () => {
  await fabric.stop();
  fabric.remove();
});

/** The three nodes, and a fourth that comes and goes. */
function writeCluster(withFourth: boolean): void {
  const fourth = {
    name: 'n4',
    addresses: ['192.168.2.14', 'fd02::14'],
    podCIDRs: ['10.244.4.0/24', 'fd00:244:4::/64'],
  };
  fabric.writeCluster(JSON.stringify({ nodes: [...nodesOf('dual', 'dual'), ...(withFourth ? [fourth] : [])] }));
}

it(`loses no packet and leaves nothing undone over ${kills} kills`, { timeout: 180_000 }, async () => {
  await fabric.start({}, 'dual', 'dual');
  const { agent, pod, host } = fabric.nodes[0]!;
  await agent.stop();
  const flow = pinging(pod, '10.244.3.5');
  for (let i = 0; i < kills; i++) {
    writeCluster(i % 2 === 0);
    agent.start();
    await sleep(chance() * spanMs);
    await agent.stop('SIGKILL');
  }
  expect(await flow.stop()).toMatchObject({ lost: 0 });

  writeCluster(false);
  agent.start();
  await agent.ready();
  expect(agent.plan()).toMatchObject({ status: 0, stdout: '' });
  for (const shown of ['ip route show table all', 'ip -6 route show table all', 'ip neigh show', 'bridge fdb show']) {
    expect(host.exec(shown)).not.toMatch(/10\.244\.4\.|fd00:244:4:|192\.168\.2\.14|fd02::14/);
  }
  expect(await fabric.unreachable('dual')).toEqual([]);
});

it('makes its link again when a kill came between the link and its mark', { timeout: 60_000 }, async () => {
  const { agent, host } = fabric.nodes[0]!;
  for (let i = 0; i < 10; i++) {
    await agent.stop('SIGKILL');
    host.try('ip link delete dev culvert-vxlan');
    agent.start();
    await sleep(chance() * spanMs);
  }
  await agent.stop('SIGKILL');
  agent.start();
  await agent.ready();
  expect(agent.plan()).toMatchObject({ status: 0, stdout: '' });
  expect(await fabric.unreachable('dual')).toEqual([]);
});

/** A mode changed in a lab while its pods talk: the steps of `culvert mode set`, with a copy of the cluster file on every machine. */

import { type Answer, changeTraffic } from '../../../src/agent/mode-change.ts';
import type { NodeStatus } from '../../../src/agent/status.ts';
import { fileTraffic } from '../../../src/agent/traffic-place.ts';
import type { ClusterNode, Traffic } from '../../../src/plan/cluster.ts';
import type { VmLab } from './lab.ts';
import type { Namespace } from './namespace.ts';
import { agentPort } from './node.ts';

/** What an agent says over the network: emulated machines are too slow to start a program for every question. */
async function ask(from: Namespace, { addresses }: ClusterNode): Promise<Answer> {
  const { address, text } = addresses[0]!;
  const host = address.family === 6 ? `[${text}]` : text;
  try {
    return JSON.parse(await from.exec(`curl -sf --max-time 5 http://${host}:${agentPort}/status`)) as NodeStatus;
  } catch (error) {
    return (error as Error).message;
  }
}

/**
 * Asks where the lab's router is, which reaches every node. Answers what the command would say, each line with the second it was
 * said in. Throws what was not confirmed.
 */
export async function changeLive(lab: VmLab, target: Traffic): Promise<string[]> {
  const started = performance.now();
  const router = lab.segments.other(lab.topology.routers[0]!.name);
  const place = fileTraffic(lab.clusterFile, undefined);
  const said: string[] = [];
  const lacks = await changeTraffic(target, {
    place: {
      ...place,
      async write(traffic) {
        await place.write(traffic);
        await lab.publish();
      },
    },
    ask: (node) => ask(router, node),
    say: (line) => said.push(`${((performance.now() - started) / 1000).toFixed(1)} s ${line}`),
    timeoutMs: 60_000,
    probe: true,
    settleMs: 1000,
  });
  if (lacks.length > 0) throw new Error(said.join('\n'));
  return said;
}

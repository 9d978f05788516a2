/** One pod after another: ADD into fresh namespaces by one plugin or a chain of them, then DEL of all, each suite in turn. */

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { linkNames } from '../../src/kernel/ifaddrs.ts';
import { socketPath } from '../../src/serve/serve.ts';
import { runCnitool } from './cnitool.ts';
import { alternate, type Row } from './measure.ts';
import { bridgeConf, bridgeOf, type Conf, chainConf, clusterConf, loopbackConf } from './networks.ts';
import { type Bench, type Section, timesReference } from './section.ts';
import { execute, run as runLine, type Suite, track } from './suite.ts';

interface Work {
  readonly name: string;
  /** The plugins that a runtime executes one after the other, with the ports and rates of pod `i` (from 0). */
  chain(bench: Bench, suite: Suite, i: number): Conf[];
  /** Limits in times of the reference. */
  readonly add?: number;
  readonly del?: number;
  readonly makesBridge?: boolean;
}

const works: readonly Work[] = [
  {
    name: 'bridge + host-local, ipMasq',
    chain: (bench, suite) => [bridgeConf(bench, suite, true)],
    add: 1.5,
    del: 0.6,
    makesBridge: true,
  },
  {
    name: 'bridge + host-local',
    chain: (bench, suite) => [bridgeConf(bench, suite, false)],
    makesBridge: true,
  },
  {
    name: 'bridge with ipMasq, portmap, bandwidth',
    chain: chainConf,
    add: 1.2,
    del: 0.6,
    makesBridge: true,
  },
  {
    name: 'culvert with a port and rates (reference: that chain)',
    chain: (bench, suite, i) => (suite === bench.culvert ? [clusterConf(bench, suite, i)] : chainConf(bench, suite, i)),
    add: 0.6,
    del: 0.35,
    makesBridge: true,
  },
  { name: 'culvert (reference: ptp + host-local)', chain: (bench, suite) => [clusterConf(bench, suite)] },
  { name: 'loopback', chain: () => [loopbackConf()] },
];

/** What the kernel does after a command was answered should not fall on the next. */
const settleMs = 300;

/** A pod and the chain that attaches it. */
interface Attachment {
  readonly suite: Suite;
  readonly chain: readonly Conf[];
  readonly containerId: string;
  readonly netns: string;
  /** What ADD answered last. */
  prevResult?: object;
}

/** One verb for the whole chain as a runtime does it: DEL backwards, each plugin told the result. Answers its milliseconds. */
function executeChain({ cnitool, dir }: Bench, attachment: Attachment, command: 'ADD' | 'DEL'): number {
  const { suite, chain, containerId, netns } = attachment;
  if (cnitool) return runCnitool(cnitool, dir, attachment, command);
  let total = 0;
  for (const conf of command === 'ADD' ? chain : chain.toReversed()) {
    const { prevResult } = attachment;
    const told = prevResult ? { ...conf, prevResult } : conf;
    const { ms, stdout } = execute({ suite, plugin: conf.type, command, conf: told, containerId, netns });
    if (command === 'ADD') attachment.prevResult = JSON.parse(stdout) as object;
    total += ms;
  }
  return total;
}

async function measure(bench: Bench, work: Work): Promise<Row[]> {
  const { warmUp, rounds } = bench.rounds;
  const label = (suite: Suite, round: number) => `${suite.label}-${round}`;
  const attached = new Map<string, Attachment>();
  const staying: Attachment[] = [];
  for (const suite of bench.suites) {
    const pod = (i: number, containerId: string): Attachment => ({
      suite,
      chain: work.chain(bench, suite, i),
      containerId,
      netns: bench.pods.make(),
    });
    // one that stays: a bridge without ports, or the first pod of a node, is another matter
    const stays = pod(0, 'stays');
    executeChain(bench, stays, 'ADD');
    staying.push(stays);
    for (let round = -warmUp; round < rounds; round++) {
      const i = round + warmUp + 1;
      attached.set(label(suite, round), pod(i, `bench${i}`));
    }
  }
  await sleep(settleMs);
  const verb = (command: 'ADD' | 'DEL') =>
    alternate(
      bench.suites.map((suite) => {
        const run = (round: number) => executeChain(bench, attached.get(label(suite, round))!, command);
        return { label: suite.label, run };
      }),
      bench.rounds,
    );
  const added = await verb('ADD');
  await sleep(settleMs);
  const deleted = await verb('DEL');
  for (const pod of staying) executeChain(bench, pod, 'DEL');
  if (work.makesBridge) {
    for (const suite of bench.suites) {
      if (linkNames().includes(bridgeOf(bench, suite))) runLine(`ip link delete ${bridgeOf(bench, suite)}`);
    }
  }
  bench.pods.removeAll();
  await sleep(settleMs);
  return [
    { work: `${work.name}: ADD`, unit: 'ms', figures: added, target: work.add && timesReference(bench, work.add) },
    { work: `${work.name}: DEL`, unit: 'ms', figures: deleted, target: work.del && timesReference(bench, work.del) },
  ].map(({ target, ...row }) => ({ ...row, ...(target ? { target } : {}) })) as Row[];
}

async function run(bench: Bench): Promise<Row[]> {
  const rows: Row[] = [];
  for (const work of works) rows.push(...(await measure(bench, work)));
  return rows;
}

/** The same works with our plugins served (`culvert serve`). */
async function runServed(bench: Bench): Promise<Row[]> {
  const culvert = { ...bench.culvert, label: 'culvert, served' };
  const child = spawn(join(culvert.dir, 'culvert'), ['serve'], { stdio: 'ignore' });
  track(child);
  for (let waited = 0; !existsSync(socketPath()); waited += settleMs) {
    if (waited > 10_000) throw new Error('culvert serve does not answer');
    await sleep(settleMs);
  }
  try {
    return await run({ ...bench, culvert, suites: [culvert, ...bench.suites.slice(1)] });
  } finally {
    child.kill();
  }
}

export const attach: Section = { name: 'attach', title: 'One pod', run };
export const served: Section = { name: 'served', title: 'One pod, plugins served', run: runServed };

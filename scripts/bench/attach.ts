/** One pod after another: ADD into fresh namespaces, then DEL of all, each suite in turn. */

import { setTimeout as sleep } from 'node:timers/promises';
import { alternate, type Row } from './measure.ts';
import { bridgeConf, bridgeOf, clusterConf, loopbackConf } from './networks.ts';
import { type Bench, type Section, timesReference } from './section.ts';
import { type Execution, execute, run as runLine, type Suite } from './suite.ts';

interface Work {
  readonly name: string;
  conf(bench: Bench, suite: Suite): { type: string };
  /** Limits in times of the reference. */
  readonly add?: number;
  readonly del?: number;
  readonly makesBridge?: boolean;
}

const works: readonly Work[] = [
  {
    name: 'bridge + host-local, ipMasq',
    conf: (bench, suite) => bridgeConf(bench, suite, true) as { type: string },
    add: 1.5,
    del: 0.6,
    makesBridge: true,
  },
  {
    name: 'bridge + host-local',
    conf: (bench, suite) => bridgeConf(bench, suite, false) as { type: string },
    makesBridge: true,
  },
  { name: 'culvert (reference: ptp + host-local)', conf: clusterConf },
  { name: 'loopback', conf: () => loopbackConf() as { type: string } },
];

/** What the kernel does after a command was answered should not fall on the next. */
const settleMs = 300;

async function measure(bench: Bench, work: Work): Promise<Row[]> {
  const { warmUp, rounds } = bench.rounds;
  const label = (suite: Suite, round: number) => `${suite.label}-${round}`;
  const attached = new Map<string, Execution>();
  for (const suite of bench.suites) {
    const conf = work.conf(bench, suite);
    // one that stays: a bridge without ports, or the first pod of a node, is another matter
    execute({ suite, plugin: conf.type, command: 'ADD', conf, containerId: 'stays', netns: bench.pods.make() });
    for (let round = -warmUp; round < rounds; round++) {
      const netns = bench.pods.make();
      const containerId = `bench${round + warmUp}`;
      attached.set(label(suite, round), { suite, plugin: conf.type, command: 'ADD', conf, containerId, netns });
    }
  }
  await sleep(settleMs);
  const verb = (once: (key: string, e: Execution) => number) =>
    alternate(
      bench.suites.map((suite) => {
        const run = (round: number) => once(label(suite, round), attached.get(label(suite, round))!);
        return { label: suite.label, run };
      }),
      bench.rounds,
    );
  const added = await verb((key, e) => {
    const { ms, stdout } = execute(e);
    // as a runtime does: DEL hears what ADD answered
    attached.set(key, { ...e, command: 'DEL', conf: { ...e.conf, prevResult: JSON.parse(stdout) } });
    return ms;
  });
  await sleep(settleMs);
  const deleted = await verb((_, e) => execute(e).ms);
  for (const suite of bench.suites) {
    const conf = work.conf(bench, suite);
    execute({ suite, plugin: conf.type, command: 'DEL', conf, containerId: 'stays' });
  }
  if (work.makesBridge) for (const suite of bench.suites) runLine(`ip link delete ${bridgeOf(bench, suite)}`);
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

export const attach: Section = { name: 'attach', title: 'One pod', run };

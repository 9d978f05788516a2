/** Many pods at once, as when a node comes back: all executions start together, and the clock runs until the last has ended. */

import { setTimeout as sleep } from 'node:timers/promises';
import { figuresOf, quantile, type Row } from './measure.ts';
import { bridgeConf, bridgeOf } from './networks.ts';
import type { Bench, Section } from './section.ts';
import { type Executed, type Execution, execute, executeAmongOthers, run as runLine, type Suite } from './suite.ts';

const commands = ['ADD', 'DEL'] as const;

/** Values by suite, one a round. */
interface Tally {
  readonly wall: Map<string, number[]>;
  readonly each: Map<string, number[]>;
  readonly slowest: Map<string, number[]>;
}

const put = (map: Map<string, number[]>, suite: Suite, ...values: number[]): void =>
  void map.set(suite.label, [...(map.get(suite.label) ?? []), ...values]);

async function together(executions: readonly Execution[], suite: Suite, tally: Tally): Promise<Executed[]> {
  const started = performance.now();
  const done = await Promise.all(executions.map(executeAmongOthers));
  put(tally.wall, suite, performance.now() - started);
  const times = done.map((d) => d.ms);
  put(tally.each, suite, quantile(times, 0.5));
  put(tally.slowest, suite, quantile(times, 0.99));
  return done;
}

async function run(bench: Bench): Promise<Row[]> {
  const size = bench.quick ? 10 : 50;
  const rounds = bench.quick ? 1 : 5;
  const tallies = commands.map((): Tally => ({ wall: new Map(), each: new Map(), slowest: new Map() }));
  const first = (suite: Suite): Execution => {
    const conf = bridgeConf(bench, suite, true);
    return { suite, plugin: 'bridge', command: 'ADD', conf, containerId: 'stays', netns: bench.pods.make() };
  };
  for (const suite of bench.suites) execute(first(suite));
  for (let round = 0; round < rounds; round++) {
    for (const suite of bench.suites) {
      const adds = Array.from({ length: size }, (_, i) => ({ ...first(suite), containerId: `crowd${i}` }));
      await sleep(300);
      const added = await together(adds, suite, tallies[0]!);
      await sleep(300);
      const dels = adds.map((e, i) => {
        const conf = { ...e.conf, prevResult: JSON.parse(added[i]!.stdout) };
        return { ...e, command: 'DEL', conf };
      });
      await together(dels, suite, tallies[1]!);
    }
  }
  for (const suite of bench.suites) {
    execute({ ...first(suite), command: 'DEL' });
    runLine(`ip link delete ${bridgeOf(bench, suite)}`);
  }
  bench.pods.removeAll();
  const row = (work: string, values: Map<string, number[]>): Row => ({
    work,
    unit: 'ms',
    figures: [...values].map(([label, list]) => figuresOf(label, list)),
  });
  return commands.flatMap((command, i) => {
    const { wall, each, slowest } = tallies[i]!;
    const all = `${size} × ${command} at once`;
    return [row(`${all}: all done`, wall), row(`${all}: one, p50`, each), row(`${all}: one, p99`, slowest)];
  });
}

export const crowd: Section = { name: 'crowd', title: 'Many pods at once: bridge + host-local, ipMasq', run };

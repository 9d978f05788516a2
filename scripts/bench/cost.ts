/** What an execution costs besides time: processor, processes started (by strace) and peak memory (by GNU time). */

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { figuresOf, type Row, type Unit } from './measure.ts';
import { bridgeConf, bridgeOf, clusterConf, loopbackConf } from './networks.ts';
import type { Bench, Section } from './section.ts';
import { demand, type Execution, environment, execute, fileOf, run as runLine } from './suite.ts';

/** Executes below another program, which writes to a file; answers the plugin's answer and that file. */
function executeBelow(wrapper: readonly string[], log: string, e: Execution): { stdout: string; log: string } {
  const [program, ...args] = [...wrapper, log, fileOf(e)];
  const options = { encoding: 'utf8', input: JSON.stringify(e.conf), env: environment(e) } as const;
  const stdout = demand(`${e.plugin} ${e.command} below ${program}`, spawnSync(program!, args, options));
  return { stdout, log: readFileSync(log, 'utf8') };
}

interface Gauge {
  readonly what: string;
  readonly program: string;
  readonly unit: Unit;
  readonly wrapper: readonly string[];
  read(log: string): number;
  /** A limit for executions of ours, in the unit. */
  readonly atMost?: number;
}

const gauges: readonly Gauge[] = [
  {
    what: 'processes started',
    program: 'strace',
    unit: 'count',
    wrapper: ['strace', '-f', '-qq', '-e', 'trace=execve', '-e', 'signal=none', '-o'],
    // one that becomes another program by a second execve is still one
    read: (log) => new Set(log.match(/^[0-9]+(?= .*execve.* = 0$)/gm)).size - 1,
    atMost: 4,
  },
  {
    what: 'peak resident memory',
    program: '/usr/bin/time',
    unit: 'MiB',
    wrapper: ['/usr/bin/time', '-f', '%M', '-o'],
    read: (log) => Number(log.trim().split('\n').at(-1)) / 1024,
  },
];

const isThere = (program: string): boolean => spawnSync(program, ['--version']).error === undefined;

/** What is executed of a suite; `plugin` is the file's name. */
function executionsOf(bench: Bench, suite: Execution['suite']): { name: string; conf: { type: string } }[] {
  return [
    { name: 'bridge + host-local, ipMasq', conf: bridgeConf(bench, suite, true) as { type: string } },
    { name: 'culvert (reference: ptp + host-local)', conf: clusterConf(bench, suite) },
    { name: 'loopback', conf: loopbackConf() as { type: string } },
  ];
}

function measure(bench: Bench, gauge: Gauge): Row[] {
  const log = join(bench.dir, 'cost.log');
  const values = new Map<string, ReturnType<typeof figuresOf>[]>();
  for (const suite of bench.suites) {
    for (const { name, conf } of executionsOf(bench, suite)) {
      const one = { suite, plugin: conf.type, command: 'ADD', conf };
      execute({ ...one, containerId: 'stays', netns: bench.pods.make() });
      const add = { ...one, containerId: 'cost', netns: bench.pods.make() };
      const added = executeBelow(gauge.wrapper, log, add);
      const prevResult: unknown = JSON.parse(added.stdout);
      const deleted = executeBelow(gauge.wrapper, log, { ...add, command: 'DEL', conf: { ...conf, prevResult } });
      execute({ ...one, command: 'DEL', containerId: 'stays' });
      for (const [verb, { log: text }] of [['ADD', added] as const, ['DEL', deleted] as const]) {
        const work = `${gauge.what}: ${name}: ${verb}`;
        values.set(work, [...(values.get(work) ?? []), figuresOf(suite.label, [gauge.read(text)])]);
      }
    }
    runLine(`ip link delete ${bridgeOf(bench, suite)}`);
  }
  bench.pods.removeAll();
  return [...values].map(([work, figures]) => {
    const target = gauge.atMost === undefined ? {} : { target: { atMost: gauge.atMost } };
    return { work, unit: gauge.unit, figures, ...target };
  });
}

/** User and system time of all children that this process has waited for, and of theirs, in ms: fields 16 and 17, hundredths of a second. */
function childrenMs(): number {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13]) + Number(fields[14])) * 10;
}

/** The one figure that a busy machine hardly changes. A mean: the kernel counts in steps of 10 ms. */
function measureProcessor(bench: Bench): Row[] {
  const count = bench.quick ? 2 : 20;
  const values = new Map<string, ReturnType<typeof figuresOf>[]>();
  for (const suite of bench.suites) {
    for (const { name, conf } of executionsOf(bench, suite)) {
      const pods = Array.from({ length: count }, () => bench.pods.make());
      for (const command of ['ADD', 'DEL']) {
        const before = childrenMs();
        for (const [i, netns] of pods.entries()) {
          execute({ suite, plugin: conf.type, command, conf, containerId: `cost${i}`, netns });
        }
        const work = `processor time, mean of ${count}: ${name}: ${command}`;
        const mean = (childrenMs() - before) / count;
        values.set(work, [...(values.get(work) ?? []), figuresOf(suite.label, [mean])]);
      }
    }
    runLine(`ip link delete ${bridgeOf(bench, suite)}`);
  }
  bench.pods.removeAll();
  return [...values].map(([work, figures]) => ({ work, unit: 'ms', figures }));
}

async function run(bench: Bench): Promise<Row[]> {
  const counted = gauges.flatMap((gauge) => {
    if (isThere(gauge.program)) return measure(bench, gauge);
    process.stderr.write(`bench: ${gauge.what}: not measured, there is no ${gauge.program}\n`);
    return [];
  });
  return [...measureProcessor(bench), ...counted];
}

export const cost: Section = { name: 'cost', title: 'What an execution costs besides time', run };

/** One TCP stream between pods of two nodes: our agents and plugin beside devices made by hand, and a flowtable beside none. */

import { spawn, spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { flowtableCheck } from '../../src/plan/flowtable.ts';
import { alternate, type Rounds, type Row, type Subject } from './measure.ts';
import type { Bench, Section } from './section.ts';
import { run as runLine, track } from './suite.ts';
import {
  backend,
  type Index,
  linkOf,
  type Mode,
  makeByHand,
  makeOurs,
  modes,
  Place,
  podAddress,
  ruleByHand,
} from './two-nodes.ts';

/** Starts a server in the second pod; answers what measures one stream to it from the first, in Gbit/s. */
async function streams(place: Place, seconds: number): Promise<() => number> {
  const enter = (i: Index): string => `nsenter --net=/run/netns/${place.pod(i)}`;
  const [program, ...args] = `${enter(2)} iperf3 -s`.split(' ') as [string, ...string[]];
  const server = spawn(program, args, { stdio: 'ignore' });
  server.unref(); // it is ended with the benchmark
  track(server);
  await sleep(500); // it listens by now
  const client = `${enter(1)} iperf3 -c ${podAddress(2)} -t ${seconds} -J`;
  return () => {
    const { end } = JSON.parse(runLine(client)) as { end: { sum_received: { bits_per_second: number } } };
    return end.sum_received.bits_per_second / 1e9;
  };
}

const roundsOf = ({ quick }: Bench): Rounds => (quick ? { warmUp: 0, rounds: 1 } : { warmUp: 1, rounds: 15 });

async function measure(bench: Bench, mode: Mode): Promise<Row> {
  using ours = new Place('ours-');
  using byHand = new Place('hand-');
  using ruled = new Place('rule-');
  const agents = await makeOurs(bench, ours, mode);
  try {
    for (const place of [byHand, ruled]) makeByHand(place, mode, bench.dir);
    ruleByHand(ruled);
    const seconds = bench.quick ? 1 : 2;
    const subjects: Subject[] = [
      { label: bench.culvert.label, run: await streams(ours, seconds) },
      { label: 'by hand', run: await streams(byHand, seconds) },
      { label: 'by hand, with its rules', run: await streams(ruled, seconds) },
    ];
    const figures = await alternate(subjects, roundsOf(bench));
    const work = `${mode}, beside flannel's ${backend[mode]}`;
    return { work, unit: 'Gbit/s', figures, target: { atLeast: 0.98, over: 'by hand' } };
  } finally {
    for (const agent of agents) await agent.stop();
  }
}

/** Throws unless a connection between the pods gets onto the short cut of both nodes. */
function expectShortCut(place: Place): void {
  const enter = (host: string): string[] => [`--net=/run/netns/${host}`];
  const stream = [...enter(place.pod(1)), ...`iperf3 -c ${podAddress(2)} -t 60 -b 1M`.split(' ')];
  const client = spawn('nsenter', stream, { stdio: 'ignore' });
  track(client);
  for (const i of [1, 2] as const) {
    const list = [...enter(place.node(i)), ...'conntrack -L -p tcp'.split(' ')];
    const deadline = performance.now() + 30_000;
    while (!spawnSync('nsenter', list, { encoding: 'utf8' }).stdout.includes('[OFFLOAD]')) {
      if (performance.now() > deadline) throw new Error(`no connection is on the flowtable of ${place.node(i)}`);
    }
  }
  client.kill('SIGTERM');
}

/** Pods' connections take the short cut of a flowtable on both nodes, or do not. */
async function measureFlowtable(bench: Bench): Promise<Row> {
  using fast = new Place('fast-');
  using slow = new Place('slow-');
  const agents = await makeOurs(bench, fast, 'routed', true);
  try {
    agents.push(...(await makeOurs(bench, slow, 'routed', false)));
    const seconds = bench.quick ? 1 : 2;
    const subjects: Subject[] = [
      { label: 'with a flowtable', run: await streams(fast, seconds) },
      { label: 'without', run: await streams(slow, seconds) },
    ];
    const figures = await alternate(subjects, roundsOf(bench));
    expectShortCut(fast);
    return { work: 'routed, with a flowtable', unit: 'Gbit/s', figures, target: { atLeast: 1.15, over: 'without' } };
  } finally {
    for (const agent of agents) await agent.stop();
  }
}

const hasFlowtables = (): boolean => spawnSync('nft', ['-c', flowtableCheck]).status === 0;

async function run(bench: Bench): Promise<Row[]> {
  const rows: Row[] = [];
  for (const mode of modes) {
    const link = linkOf[mode];
    if (link && spawnSync('ip', `link add name try type ${link}`.split(' ')).status !== 0) {
      process.stderr.write(`bench: this kernel has no ${mode}: not measured (scripts/vm-lab run has one)\n`);
      continue;
    }
    if (link) runLine('ip link delete try');
    rows.push(await measure(bench, mode));
  }
  if (hasFlowtables()) rows.push(await measureFlowtable(bench));
  else process.stderr.write('bench: this kernel has no flowtables: not measured (scripts/vm-lab run has one)\n');
  return rows;
}

export const throughput: Section = { name: 'throughput', title: 'One TCP stream, pod to pod on another node', run };

/** The packaged agent with many nodes: from nothing, started again, and one node added, moved to another address, removed. By VXLAN. */

import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { idleMs } from '../../src/agent/memory.ts';
import { routeProtocol } from '../../src/plan/host.ts';
import { devices } from '../../src/plan/overlay.ts';
import {
  Agent,
  type FamilyCount,
  movedAddress,
  podCidrs,
  prepareCluster,
  self,
  underlayDevice,
  writeConfig,
} from './agent.ts';
import { figuresOf, quantile, type Row, type Unit } from './measure.ts';
import type { Bench, Section } from './section.ts';
import { run as runLine } from './suite.ts';

function makeUnderlay(): void {
  runLine(`ip link add ${underlayDevice} type veth peer name far`);
  for (const name of ['far', underlayDevice]) runLine(`ip link set ${name} up`);
  const [v4, v6] = self.addresses;
  runLine(`ip addr add ${v4}/13 dev ${underlayDevice}`);
  runLine(`ip addr add ${v6}/32 dev ${underlayDevice} nodad`);
}

/** As before the agent's first start. Everything here is in the benchmark's own namespace. */
function clear(): void {
  spawnSync('ip', ['link', 'delete', devices.vxlan]);
  for (const family of ['-4', '-6']) spawnSync('ip', [family, 'route', 'flush', 'proto', routeProtocol]);
  runLine('nft flush ruleset');
}

/** What the agent does after a change has to be over: it looks at the host once more, which begins within a second. */
const restMs = 1500;
/** It has given its memory back. */
const restedMs = idleMs + 2000;

/** Programs that only look: the agent's other commands change something. */
const looks = (command: string): boolean => / -j | list /.test(command);

/** One cluster: its size, and the files that describe it. */
interface Cluster {
  readonly count: number;
  readonly families: FamilyCount;
  readonly file: string;
  readonly config: string;
  readonly dir: string;
}

type Kind = 'added' | 'moved' | 'removed';
const kinds: readonly Kind[] = ['added', 'moved', 'removed'];

/** Values of one number of nodes. */
class Values {
  readonly cold: number[] = [];
  readonly pass: number[] = [];
  readonly again: number[] = [];
  readonly changes: number[] = [];
  readonly commands: number[] = [];
  readonly changed: Readonly<Record<Kind, number[]>> = { added: [], moved: [], removed: [] };
  readonly cpu: Readonly<Record<Kind, number[]>> = { added: [], moved: [], removed: [] };
  /** Nodes added when the agent had come to rest and given its memory back. */
  readonly rested: number[] = [];
  readonly resident: number[] = [];
  readonly peak: number[] = [];
}

/** How long from the changed file until a program that watches the kernel has told of all of these. */
async function timeChange(watch: readonly string[], awaited: Set<string>, change: () => void): Promise<number> {
  const [program, ...args] = watch as [string, ...string[]];
  const monitor = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const timeout = setTimeout(() => monitor.kill(), 10_000);
  try {
    await sleep(100); // it listens by now
    const started = performance.now();
    change();
    for await (const line of createInterface({ input: monitor.stdout })) {
      for (const text of awaited) if (line.startsWith(text) || line.includes(` ${text} `)) awaited.delete(text);
      if (awaited.size === 0) return performance.now() - started;
    }
  } finally {
    clearTimeout(timeout);
    monitor.kill();
  }
  throw new Error(`${watch.join(' ')} did not tell of ${[...awaited].join(' and ')} within 10 s`);
}

/** One change of the last node but this one, timed to the last of its traces in the kernel. */
function changeNode({ file, families, count }: Cluster, kind: Kind): Promise<number> {
  const last = count + 1;
  const routes = podCidrs(last, families);
  if (kind === 'added') {
    return timeChange(['ip', 'monitor', 'route'], new Set(routes), prepareCluster(file, last, families));
  }
  if (kind === 'moved') {
    // the underlay is of one family: IPv4 where there are both
    const change = prepareCluster(file, last, families, last);
    return timeChange(['bridge', 'monitor', 'fdb'], new Set([`dst ${movedAddress(last)}`]), change);
  }
  const gone = new Set(routes.map((r) => `Deleted ${r}`));
  return timeChange(['ip', 'monitor', 'route'], gone, prepareCluster(file, count, families));
}

async function cold(bench: Bench, cluster: Cluster, values: Values): Promise<void> {
  clear();
  writeConfig(cluster.config, cluster.dir, 'info');
  const agent = await Agent.start(join(bench.culvert.dir, 'culvert'), cluster.config);
  try {
    values.cold.push(agent.readyMs);
    values.pass.push(agent.lines.find((l) => l.msg === 'applied')!.ms!);
  } finally {
    await agent.stop();
  }
}

/** Started again on the host as it left it, with every command line in its log. */
async function again(bench: Bench, cluster: Cluster, values: Values): Promise<void> {
  writeConfig(cluster.config, cluster.dir, 'debug');
  const agent = await Agent.start(join(bench.culvert.dir, 'culvert'), cluster.config);
  try {
    values.again.push(agent.readyMs);
    const metrics = await (await fetch('http://127.0.0.1:9467/metrics')).text();
    const changes = [...metrics.matchAll(/^culvert_changes_total{.*} ([0-9]+)$/gm)].map((m) => Number(m[1]));
    values.changes.push(changes.reduce((sum, n) => sum + n, 0));
    const commands = agent.lines.flatMap((l) => (l.msg === 'run' ? [l.command!.split('\n')[0]!] : []));
    values.commands.push(commands.filter((c) => !looks(c)).length);
  } finally {
    await agent.stop();
  }
}

/** One node comes, moves and goes, many times; between two changes the agent comes to rest. */
async function change(bench: Bench, cluster: Cluster, values: Values, rounds: number): Promise<void> {
  writeConfig(cluster.config, cluster.dir, 'info');
  clear();
  const agent = await Agent.start(join(bench.culvert.dir, 'culvert'), cluster.config);
  try {
    for (let i = 0; i < rounds; i++) {
      for (const kind of kinds) {
        await sleep(restMs);
        const before = agent.cpuMs;
        values.changed[kind].push(await changeNode(cluster, kind));
        await sleep(restMs);
        values.cpu[kind].push(agent.cpuMs - before);
      }
    }
    for (let i = 0; i < (bench.quick ? 1 : 5); i++) {
      await sleep(restedMs);
      values.rested.push(await changeNode(cluster, 'added'));
      await sleep(restMs);
      await changeNode(cluster, 'removed');
    }
    await sleep(restedMs);
    values.resident.push(agent.memoryMiB('VmRSS'));
    values.peak.push(agent.memoryMiB('VmHWM'));
  } finally {
    await agent.stop();
  }
}

async function measure(bench: Bench, count: number, families: FamilyCount): Promise<Row[]> {
  const dir = join(bench.dir, `agent-${count}-${families}`);
  mkdirSync(dir);
  const cluster = { count, families, file: join(dir, 'cluster.yaml'), config: join(dir, 'agent.yaml'), dir };
  prepareCluster(cluster.file, count, families)();
  const values = new Values();
  for (let round = 0; round < (bench.quick ? 1 : 5); round++) {
    await cold(bench, cluster, values);
    await again(bench, cluster, values);
  }
  await change(bench, cluster, values, bench.quick ? 2 : 20);
  return rowsOf(bench, cluster, values);
}

function rowsOf(bench: Bench, { count, families }: Cluster, values: Values): Row[] {
  const name = `${count.toLocaleString('en')} nodes, ${families === 1 ? 'IPv4' : 'IPv4 and IPv6'}`;
  const isLarge = count === 5000;
  const row = (work: string, unit: Unit, list: number[], atMost?: number): Row => ({
    work: `${name}: ${work}`,
    unit,
    figures: [figuresOf(bench.culvert.label, list)],
    ...(atMost === undefined ? {} : { target: { atMost } }),
  });
  return [
    row('cold, from its start until it is ready', 'ms', values.cold, isLarge ? 2000 : undefined),
    row('of that, the pass: read, plan, compare, apply', 'ms', values.pass),
    row('started again, until it is ready', 'ms', values.again),
    row('changes that this made', 'count', values.changes, 0),
    row('commands of it that change something', 'count', values.commands, 0),
    ...kinds.flatMap((kind) => {
      const list = values.changed[kind];
      return [
        row(`one node ${kind}: changed file to last trace in the kernel`, 'ms', list, isLarge ? 100 : undefined),
        row(`one node ${kind}: p99 of that`, 'ms', [quantile(list, 0.99)], isLarge ? 50 : undefined),
        row(`one node ${kind}: processor time, the look at the host after it included`, 'ms', values.cpu[kind]),
      ];
    }),
    row('one node added to an agent that has been at rest', 'ms', values.rested),
    row('agent resident, at rest after that', 'MiB', values.resident, isLarge ? 150 : undefined),
    row('agent resident, peak', 'MiB', values.peak),
  ];
}

const few = [
  [10, 2],
  [1000, 2],
] as const;
const many = [
  [100, 2],
  [1000, 2],
  [5000, 1],
  [5000, 2],
] as const;

async function run(bench: Bench): Promise<Row[]> {
  makeUnderlay();
  const rows: Row[] = [];
  const sizes = (bench.quick ? few : many).filter(([count]) => count === (bench.nodes ?? count));
  for (const [count, families] of sizes) rows.push(...(await measure(bench, count, families)));
  clear();
  runLine(`ip link delete ${underlayDevice}`);
  return rows;
}

export const cluster: Section = { name: 'cluster', title: 'Agent, by VXLAN', run };

/** The packaged agent as a process, and the cluster file it reads. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { track } from './suite.ts';

export const underlayDevice = 'uplink';

/** The node that the benchmark plays. */
export const self = { name: 'self', addresses: ['10.201.0.1', 'fd00:200:1::1'] };

/** How many families the cluster speaks: IPv4, or IPv4 and IPv6. */
export type FamilyCount = 1 | 2;

const hex = (i: number): string => (i + 1).toString(16);

/** Nodes after this one, each with one podCIDR per family; `moved` has other addresses than at first. */
const entry = (i: number, families: FamilyCount, moved: number): string => {
  const both = i === 0 ? self.addresses : addressesOf(i, i === moved);
  const [addresses, podCIDRs] = [both.slice(0, families), podCidrs(i, families)];
  return `  - name: ${i === 0 ? self.name : `node${i}`}\n    addresses: [${addresses.join(', ')}]\n    podCIDRs: [${podCIDRs.join(', ')}]\n`;
};

const addressesOf = (i: number, isMoved: boolean): string[] => {
  const [third, subnet] = isMoved ? [(i >> 8) + 101, 'fd00:201'] : [(i >> 8) + 1, 'fd00:200'];
  return [`10.200.${third}.${i & 255}`, `${subnet}::${hex(i)}`];
};

/** Where a moved node is found by IPv4. */
export const movedAddress = (i: number): string => addressesOf(i, true)[0]!;

export const podCidrs = (i: number, families: FamilyCount): string[] =>
  [`10.${100 + (i >> 8)}.${i & 255}.0/24`, `fd00:100:0:${hex(i)}::/64`].slice(0, families);

/** `count` nodes and this one, in a file beside the cluster file; answers how to rename it over that one. */
export function prepareCluster(file: string, count: number, families: FamilyCount, moved = 0): () => void {
  const entries = Array.from({ length: count + 1 }, (_, i) => entry(i, families, moved));
  writeFileSync(`${file}.next`, `nodes:\n${entries.join('')}`);
  return () => renameSync(`${file}.next`, file);
}

export function writeConfig(file: string, dir: string, log: 'info' | 'debug'): void {
  const paths = Object.fromEntries(['run', 'state', 'cniConf', 'leases'].map((p) => [p, join(dir, p)]));
  const config = { node: self.name, cluster: { file: 'cluster.yaml' }, listen: '127.0.0.1:9467', resyncSeconds: 3600 };
  writeFileSync(file, JSON.stringify({ ...config, paths, log })); // YAML, too
}

/** What the C library is told by whoever starts an agent. */
const unit = readFileSync(new URL('../../conf/culvert-agent.service', import.meta.url), 'utf8');
const tunables = /^Environment=GLIBC_TUNABLES=(.*)$/m.exec(unit)![1];

/** An emulated machine takes its time. */
const readyTimeoutMs = 120_000;

interface Line {
  readonly msg: string;
  readonly ms?: number;
  readonly command?: string;
}

export class Agent {
  /** From its start until it said that the host is as planned. */
  readonly readyMs: number;
  /** Its log until then. */
  readonly lines: readonly Line[];
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, readyMs: number, lines: readonly Line[]) {
    this.#child = child;
    this.readyMs = readyMs;
    this.lines = lines;
  }

  /** Throws with the end of its log when it ends, or is not ready in time. */
  static async start(executable: string, config: string, netns?: string): Promise<Agent> {
    const lines: Line[] = [];
    const started = performance.now();
    const enter = netns === undefined ? [] : ['nsenter', `--net=${netns}`];
    const [program, ...args] = [...enter, executable, 'agent', '--config', config];
    const env = { ...process.env, GLIBC_TUNABLES: tunables };
    const child = spawn(program!, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
    track(child);
    const timeout = setTimeout(() => child.kill('SIGKILL'), readyTimeoutMs);
    for await (const text of createInterface({ input: child.stdout })) {
      lines.push(JSON.parse(text) as Line);
      if (lines.at(-1)!.msg !== 'ready') continue;
      const readyMs = performance.now() - started;
      clearTimeout(timeout);
      child.stdout.resume();
      return new Agent(child, readyMs, lines);
    }
    throw new Error(
      `the agent ended, or was not ready after ${readyTimeoutMs / 1000} s and was ended: ${JSON.stringify(lines.slice(-3))}`,
    );
  }

  /** Processor time of it and of all that it has started and that has ended, in milliseconds. */
  get cpuMs(): number {
    const fields = readFileSync(`/proc/${this.#child.pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    // utime, stime, cutime, cstime of proc_pid_stat(5), in ticks of 10 ms
    return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks) * 10, 0);
  }

  /** A figure of /proc/PID/status in MiB: VmRSS, VmHWM. */
  memoryMiB(field: string): number {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8');
    return Number(new RegExp(`^${field}:\\s+([0-9]+) kB`, 'm').exec(status)![1]) / 1024;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill('SIGTERM');
    await once(this.#child, 'exit');
  }
}

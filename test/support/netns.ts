/**
 * Namespaces for tests: each `Host` is a network namespace that plays a machine, with pods as further namespaces. Everything a
 * test makes carries its prefix and goes with `remove()`, also when the test fails.
 */

import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runVariable } from './interrupted.ts';
import { Served } from './served.ts';

/** The plugins under test; CULVERT_BIN points at another suite to run the same cases on it. */
export const binDir = process.env['CULVERT_BIN'] ?? join(import.meta.dirname, '../../dist/bin');

export interface Ran {
  status: number;
  stdout: string;
  stderr: string;
}

const ran = (r: SpawnSyncReturns<string>): Ran => ({
  status: r.status ?? -1,
  stdout: r.stdout ?? '',
  stderr: r.stderr || String(r.error ?? ''),
});

/** Runs a program; throws with its output unless it ends with 0. */
export function run(argv: readonly string[], input?: string): string {
  const r = ran(spawnSync(argv[0]!, argv.slice(1), { encoding: 'utf8', input }));
  if (r.status !== 0) throw new Error(`${argv.join(' ')}: exit ${r.status}: ${r.stderr}${r.stdout}`);
  return r.stdout;
}

/** A command line's words in a network namespace. */
export const inside = (netns: string, line: string): string[] => [
  'nsenter',
  `--net=${netns}`,
  '--',
  ...line.split(' '),
];

export interface Call {
  plugin: string;
  /** Absent: the variable is not set. */
  command?: string;
  /** JSON, or text as it stands. */
  conf: unknown;
  containerId?: string;
  netns?: string;
  ifname?: string;
  args?: string;
  path?: string;
  env?: Record<string, string>;
  /** The folder of the plugin itself, when not the suite under test. */
  bin?: string;
}

export interface Answer extends Ran {
  /** Standard output as JSON; undefined when there was none. */
  json: Record<string, unknown> | undefined;
}

/** The environment a runtime gives; what the call leaves out is not set at all. */
function environment(c: Call): Record<string, string> {
  const parameters: [string, string | undefined][] = [
    ['CNI_COMMAND', c.command],
    ['CNI_CONTAINERID', c.containerId],
    ['CNI_NETNS', c.netns],
    ['CNI_IFNAME', c.ifname],
    ['CNI_ARGS', c.args],
    ['CNI_PATH', c.path ?? binDir],
  ];
  return {
    PATH: process.env['PATH'] ?? '',
    ...Object.fromEntries(parameters.filter((p): p is [string, string] => p[1] !== undefined)),
    ...c.env,
  };
}

export class Host {
  readonly name: string;
  /** A folder for leases and other files of this machine. */
  readonly dir: string;
  readonly #pods = new Set<string>();
  readonly #served: Served | undefined;
  #made = 0;

  constructor(label = 'h') {
    const ofRun = process.env[runVariable] ?? 'alone';
    this.name = `cvt-${ofRun}-${label}-${randomBytes(3).toString('hex')}`;
    this.dir = mkdtempSync(join(tmpdir(), `culvert-test-${ofRun}-`));
    run(['ip', 'netns', 'add', this.name]);
    this.exec('ip link set lo up');
    // the same cases with plugins that are executed by `culvert serve`
    if (process.env['CULVERT_SERVED'] === '1') this.#served = Served.start(this.netns, binDir);
  }

  get netns(): string {
    return `/run/netns/${this.name}`;
  }

  /** A command line in this machine's namespace, split at blanks. */
  exec(line: string, input?: string): string {
    return run(inside(this.netns, line), input);
  }

  try(line: string, input?: string): Ran {
    const argv = inside(this.netns, line);
    return ran(spawnSync(argv[0]!, argv.slice(1), { encoding: 'utf8', input }));
  }

  /** A new container namespace; answers its path. */
  pod(label = 'p'): string {
    const name = `${this.name}-${label}${this.#made++}`;
    run(['ip', 'netns', 'add', name]);
    this.#pods.add(name);
    return `/run/netns/${name}`;
  }

  removePod(path: string): void {
    const name = path.split('/').at(-1)!;
    this.#pods.delete(name);
    spawnSync('ip', ['netns', 'del', name]);
  }

  /** Executes a plugin as a runtime does, in this machine's namespace. */
  call(c: Call): Answer {
    const input = typeof c.conf === 'string' ? c.conf : JSON.stringify(c.conf);
    const argv = inside(this.netns, join(c.bin ?? binDir, c.plugin));
    const options = { encoding: 'utf8', input, env: environment(c), timeout: 30_000 } as const;
    const r = ran(spawnSync(argv[0]!, argv.slice(1), options));
    let json: Record<string, unknown> | undefined;
    try {
      json = JSON.parse(r.stdout) as Record<string, unknown>;
    } catch {
      json = undefined;
    }
    return { ...r, json };
  }

  remove(): void {
    this.#served?.stop();
    for (const name of this.#pods) spawnSync('ip', ['netns', 'del', name]);
    spawnSync('ip', ['netns', 'del', this.name]);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

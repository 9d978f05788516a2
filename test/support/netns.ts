/**
 * Namespaces for tests: each `Host` is a network namespace that plays a machine, with pods as further namespaces. Everything a
 * test makes carries its prefix and goes with `remove()`, also when the test fails.
 */

import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

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

export interface Call {
  plugin: string;
  command: string;
  conf: unknown;
  containerId?: string;
  netns?: string;
  ifname?: string;
  args?: string;
  path?: string;
  env?: Record<string, string>;
}

export interface Answer extends Ran {
  /** Standard output as JSON; undefined when there was none. */
  json: Record<string, unknown> | undefined;
}

export class Host {
  readonly name: string;
  /** A folder for leases and other files of this machine. */
  readonly dir: string;
  readonly #pods = new Set<string>();

  constructor(label = 'h') {
    this.name = `cvt-${label}-${randomBytes(3).toString('hex')}`;
    this.dir = mkdtempSync(join(tmpdir(), 'culvert-test-'));
    run(['ip', 'netns', 'add', this.name]);
    this.exec('ip link set lo up');
  }

  get netns(): string {
    return `/run/netns/${this.name}`;
  }

  /** A command line in this machine's namespace, split at blanks. */
  exec(line: string, input?: string): string {
    return run(['nsenter', `--net=${this.netns}`, '--', ...line.split(' ')], input);
  }

  try(line: string, input?: string): Ran {
    const argv = ['nsenter', `--net=${this.netns}`, '--', ...line.split(' ')];
    return ran(spawnSync(argv[0]!, argv.slice(1), { encoding: 'utf8', input }));
  }

  /** A new container namespace; answers its path. */
  pod(label = 'p'): string {
    const name = `${this.name}-${label}${this.#pods.size}`;
    run(['ip', 'netns', 'add', name]);
    this.#pods.add(name);
    return `/run/netns/${name}`;
  }

  removePod(path: string): void {
    const name = path.split('/').at(-1)!;
    this.#pods.delete(name);
    spawnSync('ip', ['netns', 'del', name]);
  }

  /** Executes a plugin as a runtime does, in this machine's namespace. `conf` is JSON, or text as it stands. */
  call(c: Call): Answer {
    const env: Record<string, string> = {
      PATH: process.env['PATH'] ?? '',
      CNI_COMMAND: c.command,
      CNI_PATH: c.path ?? binDir,
      ...c.env,
    };
    if (c.containerId !== undefined) env['CNI_CONTAINERID'] = c.containerId;
    if (c.netns !== undefined) env['CNI_NETNS'] = c.netns;
    if (c.ifname !== undefined) env['CNI_IFNAME'] = c.ifname;
    if (c.args !== undefined) env['CNI_ARGS'] = c.args;
    const input = typeof c.conf === 'string' ? c.conf : JSON.stringify(c.conf);
    const r = ran(
      spawnSync('nsenter', [`--net=${this.netns}`, '--', join(binDir, c.plugin)], { encoding: 'utf8', input, env }),
    );
    let json: Record<string, unknown> | undefined;
    try {
      json = JSON.parse(r.stdout) as Record<string, unknown>;
    } catch {
      json = undefined;
    }
    return { ...r, json };
  }

  remove(): void {
    for (const name of this.#pods) spawnSync('ip', ['netns', 'del', name]);
    spawnSync('ip', ['netns', 'del', this.name]);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

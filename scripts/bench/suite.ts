/** Plugin suites and how one plugin is executed: by this process itself, which is in the network namespace already. */

import { type ChildProcess, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

/** A folder of plugins. */
export interface Suite {
  readonly label: string;
  readonly dir: string;
}

export interface Execution {
  readonly suite: Suite;
  readonly plugin: string;
  readonly command: string;
  readonly conf: object;
  readonly containerId?: string;
  /** The container's network namespace. */
  readonly netns?: string;
}

export interface Executed {
  readonly ms: number;
  readonly stdout: string;
}

export const environment = ({ suite, command, containerId, netns }: Execution): Record<string, string> => ({
  PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin',
  CNI_COMMAND: command,
  CNI_CONTAINERID: containerId ?? '',
  CNI_NETNS: netns ?? '',
  CNI_IFNAME: 'eth0',
  CNI_PATH: suite.dir,
});

export const fileOf = ({ suite, plugin }: Execution): string => join(suite.dir, plugin);

/** Throws unless the program ended with 0. */
export function demand(what: string, r: SpawnSyncReturns<string>): string {
  if (r.status === 0) return r.stdout;
  const why = r.error?.message ?? (r.signal ? `ended by ${r.signal}` : `exit ${r.status}`);
  throw new Error(`${what}: ${why}: ${r.stderr ?? ''}${r.stdout ?? ''}`);
}

export function run(line: string, input?: string): string {
  const [program, ...args] = line.split(' ');
  return demand(line, spawnSync(program!, args, { encoding: 'utf8', input }));
}

/** Executes a plugin and waits for it. Throws when it fails. */
export function execute(e: Execution): Executed {
  const options = { encoding: 'utf8', input: JSON.stringify(e.conf), env: environment(e) } as const;
  const started = performance.now();
  const r = spawnSync(fileOf(e), [], options);
  const ms = performance.now() - started;
  return { ms, stdout: demand(`${e.suite.label}: ${e.plugin} ${e.command}`, r) };
}

const running = new Set<ChildProcess>();

/** Remembers a child until it ends, so that none is left when the benchmark is interrupted. */
export function track(child: ChildProcess): void {
  running.add(child);
  child.on('exit', () => running.delete(child));
}

/** Ends all that still runs, and waits for what they had started to come to its end: nothing writes files any more. */
export function endRunning(): void {
  for (const child of running) child.kill('SIGKILL');
  if (running.size > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
}

/** The same without waiting, for many at once: the clock runs from its own start to its own end. */
export async function executeAmongOthers(e: Execution): Promise<Executed> {
  const started = performance.now();
  const child = spawn(fileOf(e), [], { env: environment(e), stdio: ['pipe', 'pipe', 'pipe'] });
  track(child);
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk;
  });
  child.stdin.on('error', () => {}); // it ended early; its exit code tells
  child.stdin.end(JSON.stringify(e.conf));
  const [status] = (await once(child, 'close')) as [number | null];
  const ms = performance.now() - started;
  if (status !== 0) throw new Error(`${e.suite.label}: ${e.plugin} ${e.command}: exit ${status}: ${stderr}${stdout}`);
  return { ms, stdout };
}

/** Network namespaces of containers, made before the clock runs. */
export class Pods {
  readonly #names: string[] = [];
  #made = 0;

  /** A new one, by path. */
  make(): string {
    const name = `bench-pod${this.#made++}`;
    run(`ip netns add ${name}`);
    this.#names.push(name);
    return `/run/netns/${name}`;
  }

  removeAll(): void {
    for (const name of this.#names.splice(0)) run(`ip netns del ${name}`);
  }
}

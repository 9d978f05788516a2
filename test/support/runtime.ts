/**
 * A runtime for many containers at once: executes the plugins of a list one after another, as the specification's section 4 says,
 * without waiting for other containers. An execution can be killed, alone or with the programs it started.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { binDir, type Host, inside } from './netns.ts';
import type { CniResult } from './pod.ts';

export interface Container {
  id: string;
  netns: string;
  /** What the runtime has of it for plugins with capabilities. */
  runtimeConfig?: object;
}

/** Kills an execution after a time. */
export interface Kill {
  afterMs: number;
  /** With the programs that it started. */
  group: boolean;
}

type Plugin = { type: string } & Record<string, unknown>;

/** What a stream has brought so far. */
function textOf(stream: Readable): () => string {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks).toString();
}

function killLater(child: ChildProcess, { afterMs, group }: Kill): void {
  const timer = setTimeout(() => process.kill(group ? -child.pid! : child.pid!, 'SIGKILL'), afterMs);
  child.on('exit', () => clearTimeout(timer));
}

export class Runtime {
  readonly #host: Host;
  readonly #plugins: readonly Plugin[];
  /** Milliseconds of every execution that was not killed. */
  readonly times: number[] = [];

  constructor(host: Host, plugins: readonly Plugin[]) {
    this.#host = host;
    this.#plugins = plugins;
  }

  /** Standard output; undefined when it was killed. Throws the plugin's words when it failed. */
  async #execute(plugin: Plugin, command: string, container: Container | undefined, more: object, kill?: Kill) {
    const { id, netns, runtimeConfig } = container ?? {};
    const conf = { cniVersion: '1.1.0', name: 'net', ...plugin, runtimeConfig, ...more };
    const parameters = id === undefined ? {} : { CNI_CONTAINERID: id, CNI_NETNS: netns, CNI_IFNAME: 'eth0' };
    const env = { PATH: process.env['PATH'] ?? '', CNI_COMMAND: command, CNI_PATH: binDir, ...parameters };
    const [program = '', ...args] = inside(this.#host.netns, join(binDir, plugin.type));
    const started = performance.now();
    const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    const [stdout, stderr] = [textOf(child.stdout), textOf(child.stderr)];
    child.stdin.on('error', () => {}); // it ended before it read
    child.stdin.end(JSON.stringify(conf));
    if (kill) killLater(child, kill);
    const status = await new Promise((resolve) => child.on('close', resolve));
    if (status === null) return undefined;
    if (status !== 0) throw new Error(`${plugin.type} ${command} ${id ?? ''}: exit ${status}: ${stderr()}${stdout()}`);
    this.times.push(performance.now() - started);
    return stdout();
  }

  /** The list's result; undefined when the plugin that `killAt` names was killed, and the list ended with it. */
  async add(container: Container, kill?: Kill, killAt = 0): Promise<CniResult | undefined> {
    let prevResult: CniResult | undefined;
    for (const [n, plugin] of this.#plugins.entries()) {
      const stdout = await this.#execute(plugin, 'ADD', container, { prevResult }, n === killAt ? kill : undefined);
      if (stdout === undefined) return undefined;
      prevResult = JSON.parse(stdout) as CniResult;
    }
    return prevResult;
  }

  /** Answers whether it came to its end. */
  async del(container: Container, prevResult?: CniResult, kill?: Kill, killAt = 0): Promise<boolean> {
    for (const [n, plugin] of this.#plugins.toReversed().entries()) {
      const stdout = await this.#execute(plugin, 'DEL', container, { prevResult }, n === killAt ? kill : undefined);
      if (stdout === undefined) return false;
    }
    return true;
  }

  /** GC of every plugin with these containers still there. */
  async gc(containers: readonly Container[]): Promise<void> {
    const valid = containers.map(({ id }) => ({ containerID: id, ifname: 'eth0' }));
    for (const plugin of this.#plugins) {
      await this.#execute(plugin, 'GC', undefined, { 'cni.dev/valid-attachments': valid });
    }
  }

  /** Waits until no program works in the host's namespace any more: one that outlived its plugin may have been at it. */
  async quiet(): Promise<void> {
    while (this.#host.exec(`ip netns pids ${this.#host.name}`).trim().split('\n').length > 1) await sleep(50);
  }
}

/** Works on a list with so many at a time. */
export async function withWorkers<T>(workers: number, list: readonly T[], work: (item: T) => Promise<void>) {
  const queue = list[Symbol.iterator]();
  const worker = async () => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: workers }, worker));
}

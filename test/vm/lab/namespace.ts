/**
 * A network namespace without a name: it exists as long as a process that holds it, and that process ends when its standard
 * input does, so with us however we end. Nothing of a lab can stay behind on the machine.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { execa } from 'execa';

export class Namespace {
  readonly #holder: ChildProcess;

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
  }

  static async create(): Promise<Namespace> {
    const holder = spawn('unshare', ['--net', 'sh', '-c', 'echo held; exec cat'], { stdio: ['pipe', 'pipe', 'pipe'] });
    const [first] = (await Promise.race([once(holder.stdout, 'data'), once(holder, 'close')])) as [unknown];
    if (String(first).trim() !== 'held')
      throw new Error(`unshare --net: ${holder.stderr.read() ?? first} (needs root)`);
    const namespace = new Namespace(holder);
    await namespace.exec('ip link set dev lo up');
    return namespace;
  }

  get pid(): number {
    return this.#holder.pid!;
  }

  /** What goes before a command line to run it inside. */
  get enter(): string[] {
    return ['nsenter', `--net=/proc/${this.pid}/ns/net`, '--'];
  }

  /** Runs a shell script inside; throws with its words unless it ends with 0. */
  async exec(script: string): Promise<string> {
    const [program, ...args] = this.enter as [string, ...string[]];
    return (await execa(program, [...args, 'sh', '-ec', script])).stdout;
  }

  close(): void {
    this.#holder.stdin!.end();
  }
}

/** `culvert serve` in a network namespace, for plugins that are executed there from this process's mount namespace. */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { socketPath } from '../../src/serve/serve.ts';

/** Synchronous, as making a namespace is. */
const pauseMs = (ms: number): unknown => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

export class Served {
  readonly child: ChildProcess;
  readonly socket: string;
  /** What it has said. */
  said = '';

  private constructor(child: ChildProcess, socket: string) {
    this.child = child;
    this.socket = socket;
    child.stderr?.on('data', (text: Buffer) => {
      this.said += text;
    });
  }

  /** Comes back when it answers; throws when it does not within 10 s. */
  static start(netns: string, binDir: string, ...args: string[]): Served {
    const socket = socketPath(netns);
    rmSync(socket, { force: true }); // of a namespace that had the same number
    const argv = [`--net=${netns}`, '--', join(binDir, 'culvert'), 'serve', ...args];
    const served = new Served(spawn('nsenter', argv, { stdio: ['ignore', 'ignore', 'pipe'] }), socket);
    for (let i = 0; i < 1000 && !existsSync(socket); i++) pauseMs(10);
    if (existsSync(socket)) return served;
    served.stop();
    throw new Error(`culvert serve does not answer at ${socket}`);
  }

  /** Kills it, and takes away what one that is killed leaves. */
  stop(): void {
    this.child.kill('SIGKILL');
    rmSync(this.socket, { force: true });
  }
}

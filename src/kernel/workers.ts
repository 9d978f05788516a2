/**
 * Programs that one process starts again and again: pings, ten a second. An agent that holds thousands of nodes is held up by ten
 * milliseconds whenever it forks; a small shell that it asks to do so costs it a line written and one read. A shell runs one program
 * at a time. There come to be as many as programs ran at once, and each ends after a while without work, or with us.
 */

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Socket } from 'node:net';
import { isAbsolute } from 'node:path';
import { CommandError } from '../errors.ts';
import { failure, notInstalled, programFile, shell } from './exec.ts';

/** Runs a program whose words have no white space in them; answers all that it said, errors too. Throws CommandError. */
export type Run = (argv: readonly string[]) => Promise<string>;

const idleMs = 10_000;

/** Run by sh. The text is constant, and `set -f` leaves a line's words as they are: nothing of them is read as shell. */
const script = `
set -f
while read -r line; do
  said=$($line 2>&1)
  printf '%s\\nexit %s\\n' "$said" "$?"
done`;

class Worker {
  readonly #child = spawn(shell, ['-c', script], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...process.env, LC_ALL: 'C' },
  });
  #said = '';
  #heard = (): void => {};
  #problem: string | undefined;

  constructor() {
    this.#child.unref();
    this.#child.on('error', (error) => this.#end(error.message));
    this.#child.stdin?.on('error', () => {}); // it has ended: `close` tells
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text;
      this.#heard();
    });
    this.#child.stdout?.on('close', () => this.#end('the shell that was to run it has ended'));
  }

  get isOver(): boolean {
    return this.#problem !== undefined;
  }

  #end(problem: string): void {
    this.#problem ??= problem;
    this.#heard();
  }

  async run(argv: readonly string[]): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    this.#said = '';
    this.#heard = () => {
      const exit = /\nexit (\d+)\n$/.exec(this.#said);
      if (!exit && this.#problem === undefined) return;
      const text = exit ? this.#said.slice(0, exit.index) : '';
      if (exit?.[1] === '0') resolve(text);
      else if (exit) reject(failure(argv, Number(exit[1]), text));
      else reject(new CommandError(argv, undefined, this.#problem!, 'other'));
    };
    this.#stayUp(true);
    this.#child.stdin?.write(`${argv.join(' ')}\n`);
    this.#heard();
    try {
      return await promise;
    } finally {
      this.#heard = () => {};
      this.#stayUp(false);
    }
  }

  /** Whether this process goes on because of it. */
  #stayUp(stay: boolean): void {
    const output = this.#child.stdout as Socket | null;
    if (stay) output?.ref();
    else output?.unref();
  }

  dismiss(): void {
    this.#child.stdin?.end();
  }
}

/** `onCommand` hears every command line before it starts. */
export function createWorkers(onCommand: (line: string) => void = () => {}): Run {
  const idle: { worker: Worker; timer: NodeJS.Timeout }[] = [];
  function take(): Worker {
    for (let last = idle.pop(); last; last = idle.pop()) {
      clearTimeout(last.timer);
      if (!last.worker.isOver) return last.worker;
    }
    return new Worker();
  }
  function rest(worker: Worker): void {
    const dismiss = (): void => {
      idle.splice(
        idle.findIndex((i) => i.worker === worker),
        1,
      );
      worker.dismiss();
    };
    idle.push({ worker, timer: setTimeout(dismiss, idleMs).unref() });
  }
  return async (argv) => {
    const file = programFile(argv[0]!);
    const missing = [file, shell].find((f) => !isAbsolute(f) || !existsSync(f));
    if (missing !== undefined) throw new CommandError(argv, undefined, notInstalled(missing), 'no-program');
    const full = [file, ...argv.slice(1)];
    onCommand(full.join(' '));
    const worker = take();
    try {
      return await worker.run(full);
    } finally {
      if (!worker.isOver) rest(worker);
    }
  };
}

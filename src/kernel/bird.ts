/**
 * BIRD as a program of ours: started detached, so that it goes on when we end, and spoken to over its control socket, the way its
 * own client birdc does: a line there, and back come lines with a code of four digits, the last one with a blank after it. That the
 * socket closes tells at once that BIRD has ended.
 */

import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { CommandError } from '../errors.ts';
import type { Exec } from './exec.ts';

export interface Reply {
  /** Of the last line: 0xxx done, 8xxx refused, 9xxx not understood. */
  readonly code: number;
  /** All lines, codes left off. */
  readonly text: string;
}

/** What a wait for an answer may take; BIRD answers between two pieces of its work. */
const patienceMs = 10_000;

/** Takes whole answers off the front of what came in. */
export function takeReply(input: string): { reply: Reply; rest: string } | undefined {
  const end = /^(\d{4}) .*\n/m.exec(input);
  if (!end) return undefined;
  const length = end.index + end[0].length;
  const text = input.slice(0, length).replaceAll(/^(?:\d{4}[ -]| )/gm, '');
  return { reply: { code: Number(end[1]), text: text.trimEnd() }, rest: input.slice(length) };
}

/** A connection to a running BIRD. One question at a time. */
export class BirdControl {
  readonly #socket: Socket;
  readonly #waiting: { resolve(reply: Reply): void; reject(error: Error): void }[] = [];
  #input = '';
  /** Settles when the connection is over. */
  readonly closed: Promise<void>;

  private constructor(socket: Socket, ended: () => void) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => this.#take(chunk));
    socket.on('error', () => {}); // `close` follows
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    socket.on('close', () => {
      resolve();
      for (const w of this.#waiting.splice(0)) w.reject(new Error('BIRD closed its control socket'));
      ended();
    });
  }

  /** Undefined when nobody answers there. `ended` is called when the connection closes, for whatever reason. */
  static async open(path: string, ended: () => void): Promise<BirdControl | undefined> {
    const { promise, resolve } = Promise.withResolvers<Socket | undefined>();
    const socket = connect(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', () => resolve(undefined));
    const connected = await promise;
    if (!connected) return undefined;
    let isGreeted = false;
    const control = new BirdControl(connected, () => isGreeted && ended());
    try {
      await control.#next();
    } catch {
      return undefined;
    }
    isGreeted = true;
    return control;
  }

  /** A command's answer. Throws an Error when the connection closes or nothing comes. */
  ask(command: string): Promise<Reply> {
    this.#socket.write(`${command}\n`);
    return this.#next();
  }

  close(): void {
    this.#socket.destroy();
  }

  #next(): Promise<Reply> {
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    if (this.#socket.destroyed) return Promise.reject(new Error('BIRD closed its control socket'));
    this.#waiting.push({ resolve, reject });
    this.#socket.ref();
    const timer = setTimeout(() => {
      reject(new Error(`BIRD has not answered within ${patienceMs / 1000} s`));
      this.close(); // a late answer would be taken for the next one
    }, patienceMs).unref();
    return promise.finally(() => {
      clearTimeout(timer);
      this.#socket.unref(); // a connection that nobody waits at is no reason to go on living
    });
  }

  #take(chunk: string): void {
    this.#input += chunk;
    for (let taken = takeReply(this.#input); taken; taken = takeReply(this.#input)) {
      this.#input = taken.rest;
      this.#waiting.shift()?.resolve(taken.reply);
    }
  }
}

export interface BirdFiles {
  readonly configuration: string;
  readonly socket: string;
  readonly pid: string;
}

/** They lie together in a folder, which BIRD has to itself or shares with its keeper. */
export const birdFiles = (folder: string): BirdFiles => ({
  configuration: join(folder, 'bird.conf'),
  socket: join(folder, 'bird.ctl'),
  pid: join(folder, 'bird.pid'),
});

/** The command line of a BIRD; `recover`: what it left in the kernel stays until its neighbours have told all again. */
export const birdArgv = (files: BirdFiles, recover: boolean): string[] => [
  'bird',
  '-c',
  files.configuration,
  '-s',
  files.socket,
  '-P',
  files.pid,
  ...(recover ? ['-R'] : []),
];

/** What takes a BIRD's routes out of the kernel once it has ended. */
export const flushArgvs = (metric: number): string[][] =>
  ['-4', '-6'].map((family) => ['ip', family, ...`route flush proto bird metric ${metric}`.split(' ')]);

/** Starts a BIRD that outlives us. Throws CommandError: not installed, or what it says of its configuration. */
export async function startBird(exec: Exec, files: BirdFiles, recover: boolean): Promise<void> {
  try {
    await exec(birdArgv(files, recover));
  } catch (error) {
    if (!(error instanceof CommandError) || error.reason === 'no-program') throw error;
    const said = error.stderr.trim().replaceAll(/^bird: /gm, '');
    throw new CommandError(error.argv, error.exitCode, said, error.reason);
  }
}

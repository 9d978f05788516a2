/**
 * What changes without the kernel telling anybody who listens cheaply: our nft tables (`nft monitor` keeps a copy of every table of
 * the host in memory), WireGuard's peers and sysctls. All are asked for twice a second, and an answer that differs from the one
 * before is a reason to look. One long-lived `nft` answers for the tables; `wg` has no such way and is started only while there
 * is a device of ours.
 */

import { execa } from 'execa';
import { CommandError } from '../errors.ts';
import { type Exec, programFile } from '../kernel/exec.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { clusterTable } from '../plan/cluster-table.ts';
import { flowtableTable } from '../plan/flowtable.ts';
import type { SysctlState } from '../plan/host.ts';
import { devices as deviceNames } from '../plan/overlay.ts';
import type { Log } from './log.ts';
import { dyingWithUs } from './monitor.ts';
import { pause, type Task } from './task.ts';

const everyMs = 500;

/** Asked last, answered in one line whatever the host is like: all tables have been told. */
const lastCommand = 'describe ipv4_addr';
const lastAnswer = /^datatype ipv4_addr .*\n$/m;

/** Answers whether a text is another than at the last call; at the first one it is not. */
class Memory {
  #last: string | undefined;

  isNews(text: string): boolean {
    const was = this.#last;
    this.#last = text;
    return was !== undefined && was !== text;
  }
}

export interface PollParts {
  readonly exec: Exec;
  readonly kernel: Pick<Kernel, 'readSysctl'>;
  /** Those that are planned. */
  readonly sysctls: () => readonly SysctlState[];
  /** Interfaces that lead to other nodes. */
  readonly devices: () => ReadonlySet<string>;
  /** Called when there is a reason to look. */
  readonly changed: () => void;
  readonly log: Log;
}

export class Poll implements Task {
  readonly name = 'poll';
  readonly #parts: PollParts;

  constructor(parts: PollParts) {
    this.#parts = parts;
  }

  notReady(): undefined {
    return undefined;
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#tables(signal), this.#peersAndSysctls(signal)]);
  }

  async #tables(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#askNft(signal);
      if (signal.aborted) return;
      this.#parts.log('warn', 'nft ended; starting it again');
      await pause(1000, signal);
      this.#parts.changed(); // what happened in between went unseen
    }
  }

  async #askNft(signal: AbortSignal): Promise<void> {
    const [program, ...args] = dyingWithUs([programFile('nft'), '--stateless', '-i']);
    const child = execa(program!, args, {
      stderr: 'ignore', // it says which table there is not
      buffer: false,
      reject: false,
      cancelSignal: signal,
      // a line editor would keep a history in HOME
      env: { LC_ALL: 'C', HOME: '/dev/null' },
    });
    const isOver = new AbortController();
    const ended = child.finally(() => isOver.abort());
    child.stdin.on('error', () => {}); // it has ended: `run` decides
    let answer = '';
    let isAnswered = true;
    const memory = new Memory();
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      answer += text;
      if (!lastAnswer.test(answer)) return;
      isAnswered = true;
      if (memory.isNews(answer)) this.#parts.changed();
    });
    while (!isOver.signal.aborted) {
      if (isAnswered) {
        [answer, isAnswered] = ['', false];
        child.stdin.write(`list table inet ${clusterTable}\nlist table inet ${flowtableTable}\n${lastCommand}\n`);
      }
      await pause(everyMs, isOver.signal);
    }
    await ended;
  }

  async #peersAndSysctls(signal: AbortSignal): Promise<void> {
    const { changed, sysctls, kernel } = this.#parts;
    const memory = new Memory();
    for (; !signal.aborted; await pause(everyMs, signal)) {
      const values = sysctls().map(({ key }) => `${key}=${kernel.readSysctl(key)}`);
      if (memory.isNews([...values, await this.#peers()].join('\n'))) changed();
    }
  }

  async #peers(): Promise<string> {
    const { exec, devices } = this.#parts;
    const name = deviceNames.wireguard;
    if (!devices().has(name)) return '';
    try {
      return await exec(['wg', 'show', name, 'allowed-ips']);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      return error.message; // no device: that the kernel tells, and the look names the rest
    }
  }
}

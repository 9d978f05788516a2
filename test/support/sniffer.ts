/** tcpdump in a namespace: what passes an interface, as text. */

import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from './agents.ts';

/** How long nothing more may come before all is believed to be seen. */
const quietMs = 200;

export class Sniffer {
  readonly #child: ChildProcessByStdio<null, Readable, Readable>;
  readonly #closed: Promise<void>;
  #said = '';
  #text = '';

  private constructor(netns: string, argv: readonly string[]) {
    this.#child = spawn('nsenter', [`--net=${netns}`, '--', ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#closed = new Promise((resolve) => this.#child.once('close', () => resolve()));
    this.#child.stdout.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString();
    });
    this.#child.stderr.on('data', (chunk: Buffer) => {
      this.#said += chunk.toString();
    });
  }

  /** Resolves when it listens; `filter` is pcap-filter(7). */
  static async start(netns: string, ifname: string, filter: string): Promise<Sniffer> {
    const sniffer = new Sniffer(netns, ['tcpdump', '-nlvi', ifname, '--immediate-mode', ...filter.split(' ')]);
    await until(`tcpdump listens on ${ifname}`, () => sniffer.#said.includes('listening on'), 20_000);
    return sniffer;
  }

  /** Ends it; answers what tcpdump printed, the headers of a packet on several lines. */
  async stop(): Promise<string> {
    let seen = -1;
    while (seen < this.#text.length) {
      seen = this.#text.length;
      await sleep(quietMs);
    }
    this.#child.kill('SIGINT');
    await this.#closed;
    return this.#text.trim();
  }
}

/** tcpdump on a segment's bridge: all that machines on it say to each other. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Namespace } from './namespace.ts';
import { type Header, parsePcap } from './packet.ts';

/** How long nothing more may come before the rest is believed to be read. */
const quietMs = 300;

export class Capture {
  readonly #tcpdump: ChildProcess;
  readonly #chunks: Buffer[] = [];

  private constructor(tcpdump: ChildProcess) {
    this.#tcpdump = tcpdump;
    tcpdump.stdout!.on('data', (chunk: Buffer) => this.#chunks.push(chunk));
  }

  /** Resolves when it listens; `filter` is pcap-filter(7). */
  static async start(namespace: Namespace, ifname: string, filter = 'ip or ip6'): Promise<Capture> {
    const tcpdump = ['tcpdump', '-i', ifname, '-s', '512', '--immediate-mode', '-U', '-w', '-', filter];
    const [program, ...args] = [...namespace.enter, 'setpriv', '--pdeathsig', 'KILL', ...tcpdump] as [
      string,
      ...string[],
    ];
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const capture = new Capture(child);
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    while (!said.includes('listening on')) {
      if (child.exitCode !== null) throw new Error(`tcpdump on ${ifname}: ${said.trim()}`);
      await sleep(10);
    }
    return capture;
  }

  /** Ends it; answers the IP headers of every packet that passed, outermost first. */
  async stop(): Promise<Header[][]> {
    let seen = -1;
    while (seen < this.#chunks.length) {
      seen = this.#chunks.length;
      await sleep(quietMs);
    }
    const closed = once(this.#tcpdump, 'close');
    this.#tcpdump.kill('SIGINT');
    await closed;
    return parsePcap(Buffer.concat(this.#chunks));
  }
}

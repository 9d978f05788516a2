/** What is on the wire: tcpdump in a namespace, its lines read back into packets. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { labVariable, type Place } from './place.ts';

/** A packet as it passed; `outer` when it was encapsulated. */
export interface Packet {
  src: string;
  dst: string;
  /** tcpdump's words for what it carries: "ICMP echo request, id 1, seq 1, length 64". */
  what: string;
  outer?: { src: string; dst: string; sourcePort: number; port: number; vni: number };
}

const header = /\bIP6? (?:\([^)]*\) )?(\S+) > (\S+): (.*)$/;
const vxlan = /^VXLAN, flags \[\S*\] \(0x[0-9a-f]+\), vni (\d+)$/;

/** "10.0.0.1.4789" → address and port; IPv6 as well, whose own separator is the colon. */
function splitPort(text: string): { address: string; port: number } {
  const dot = text.lastIndexOf('.');
  return { address: text.slice(0, dot), port: Number(text.slice(dot + 1)) };
}

/** Packets of `tcpdump -n -T vxlan`: a line each, and for an encapsulated one the inner packet's line after it. */
export function parsePackets(text: string): Packet[] {
  const packets: Packet[] = [];
  let outer: Packet['outer'];
  for (const line of text.split('\n')) {
    const match = header.exec(line);
    if (!match) continue;
    const [, src, dst, what] = match as unknown as [string, string, string, string];
    const vni = vxlan.exec(what)?.[1];
    if (vni !== undefined) {
      const [from, to] = [splitPort(src), splitPort(dst)];
      outer = { src: from.address, dst: to.address, sourcePort: from.port, port: to.port, vni: Number(vni) };
    } else {
      packets.push({ src, dst, what, ...(outer ? { outer } : {}) });
      outer = undefined;
    }
  }
  return packets;
}

/** An echo request's payload length: how probes tell whose it is. */
export const echoLength = (packet: Packet): number | undefined => {
  const match = /echo request,.* length (\d+)$/.exec(packet.what);
  return match ? Number(match[1]) : undefined;
};

const quietMs = 100;

export interface CaptureOptions {
  host: string;
  ifname: string;
  /** pcap-filter(7) */
  filter: string;
}

/** A running tcpdump. */
export class Capture {
  readonly #child: ChildProcess;
  #stdout = '';
  #stderr = '';

  private constructor(place: Place, { host, ifname, filter }: CaptureOptions) {
    // immediate mode gives every packet a slot as long as the snapshot: at tcpdump's own 256 KiB only eight would fit the buffer
    const tcpdump = ['tcpdump', '-i', ifname, '-s', '512', '-n', '-l', '-t', '--immediate-mode', '-T', 'vxlan', filter];
    this.#child = spawn('nsenter', [`--net=${place.netns(host)}`, '--', ...tcpdump], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C', [labVariable]: place.lab },
    });
    this.#child.stdout!.on('data', (chunk) => {
      this.#stdout += chunk;
    });
    this.#child.stderr!.on('data', (chunk) => {
      this.#stderr += chunk;
    });
  }

  /** Resolves when it listens. Throws with what tcpdump said when it does not come to that. */
  static async start(place: Place, options: CaptureOptions): Promise<Capture> {
    const capture = new Capture(place, options);
    const ended = once(capture.#child, 'close');
    while (!capture.#stderr.includes('listening on')) {
      const stop = await Promise.race([ended.then(() => true), sleep(10, false)]);
      if (stop) throw new Error(`tcpdump in ${options.host}: ${capture.#stderr.trim()}`);
    }
    return capture;
  }

  /** Ends it and answers what it saw. */
  async stop(): Promise<Packet[]> {
    const ended = once(this.#child, 'close');
    // the last packets may still be on their way from the kernel to the program
    let seen = -1;
    while (seen < this.#stdout.length) {
      seen = this.#stdout.length;
      await sleep(quietMs);
    }
    this.#child.kill('SIGINT');
    await ended;
    return parsePackets(this.#stdout);
  }
}

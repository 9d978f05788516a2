/** Reachability and latency, by ping: one echo for every pair, and what source address the other side saw. */

import { CommandError } from '../errors.ts';
import type { Machine } from '../kernel/machine.ts';
import type { Family } from '../net/address.ts';
import { pool } from '../pool.ts';
import { Capture, echoLength } from './capture.ts';
import type { Place } from './place.ts';

/** Somebody who pings or is pinged: a pod, a node, the outside. */
export interface Endpoint {
  kind: 'pod' | 'node' | 'outside';
  /** The namespace. */
  host: string;
  /** The node it is or is on; empty for the outside. */
  node: string;
  addresses: Partial<Record<Family, string>>;
}

export interface Ping {
  from: string;
  to: string;
  family: Family;
  ok: boolean;
  rttMs?: number;
  /** The source address on the packet that arrived. */
  seenAs?: string;
}

const times = (stdout: string): number[] => [...stdout.matchAll(/time=([0-9.]+) ms/g)].map((m) => Number(m[1]));

export interface PingOptions {
  count?: number;
  intervalSeconds?: number;
  /** Bytes after the ICMP header. */
  payloadBytes?: number;
  /** Sets IPv4's "don't fragment", and forbids the sender to fragment IPv6. */
  unfragmented?: boolean;
}

/** Round trip times in milliseconds, in order; fewer than asked for when answers are missing. */
export async function ping(netns: string, address: string, options: PingOptions, { exec }: Machine): Promise<number[]> {
  const { count = 1, intervalSeconds, payloadBytes, unfragmented } = options;
  const argv = ['ping', '-n', '-c', `${count}`, '-W', '2'];
  if (intervalSeconds !== undefined) argv.push('-i', `${intervalSeconds}`);
  if (payloadBytes !== undefined) argv.push('-s', `${payloadBytes}`);
  if (unfragmented) argv.push('-M', 'do');
  try {
    return times(await exec([...argv, address], { netns, timeoutMs: 20_000 }));
  } catch (error) {
    if (error instanceof CommandError && error.reason !== 'no-program') return [];
    throw error;
  }
}

/** ICMP's header, which counts in the length that tcpdump prints. */
const icmpHeaderBytes = 8;
/** Room for a time stamp, as ping needs one to measure. */
const smallestPayloadBytes = 56;

/**
 * Pings every target from every source in every family. Each source's echoes have a length of their own, so that the captures
 * at the targets tell under which address each source arrived.
 */
export async function pingAll(
  place: Place,
  sources: readonly Endpoint[],
  targets: readonly Endpoint[],
  machine: Machine,
): Promise<Ping[]> {
  const captures = await Promise.all(
    targets.map(async (t) => ({
      host: t.host,
      capture: await Capture.start(place, {
        host: t.host,
        ifname: t.kind === 'node' ? 'any' : 'eth0',
        filter: 'icmp or icmp6',
      }),
    })),
  );
  const pings: Ping[] = sources.flatMap((from) =>
    targets
      .filter((to) => to.host !== from.host)
      .flatMap((to) =>
        ([4, 6] as const)
          .filter((family) => from.addresses[family] && to.addresses[family])
          .map((family) => ({ from: from.host, to: to.host, family, ok: false })),
      ),
  );
  const payload = (host: string) => smallestPayloadBytes + sources.findIndex((s) => s.host === host);
  const addressOf = (p: Ping) => targets.find((t) => t.host === p.to)!.addresses[p.family]!;
  await pool(pings, 6, async (p) => {
    const [rttMs] = await ping(place.netns(p.from), addressOf(p), { payloadBytes: payload(p.from) }, machine);
    p.ok = rttMs !== undefined;
    if (rttMs !== undefined) p.rttMs = rttMs;
  });
  const seen = new Map(await Promise.all(captures.map(async (c) => [c.host, await c.capture.stop()] as const)));
  for (const p of pings) {
    const length = payload(p.from) + icmpHeaderBytes;
    const packet = seen.get(p.to)!.find((s) => s.dst === addressOf(p) && echoLength(s) === length);
    if (packet) p.seenAs = packet.src;
  }
  return pings;
}

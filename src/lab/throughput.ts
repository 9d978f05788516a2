/** Throughput by iperf3 and latency by ping between two namespaces: short runs, alternating between what is compared. */

import { spawn } from 'node:child_process';
import type { Machine } from '../kernel/machine.ts';
import type { Family } from '../net/address.ts';
import { type Endpoint, ping } from './ping.ts';
import { labVariable, type Place } from './place.ts';
import { waitUntil } from './process.ts';

/** One direction between two endpoints, with a label that tells measurements apart. */
export interface Pair {
  label: string;
  from: Endpoint;
  to: Endpoint;
}

export interface Measurement {
  label: string;
  family: Family;
  /** One TCP stream, a figure for each run. */
  gigabitsPerSecond: number[];
  /** Round trips of an otherwise idle path. */
  pingMicroseconds: number[];
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

/** iperf3 servers in the namespaces; they end with `[Symbol.dispose]`. */
function serve(place: Place, hosts: readonly string[]): Disposable {
  const children = hosts.map((host) =>
    spawn('nsenter', [`--net=${place.netns(host)}`, '--', 'iperf3', '-s'], {
      stdio: 'ignore',
      env: { ...process.env, [labVariable]: place.lab },
    }),
  );
  for (const child of children) child.on('error', () => {}); // the first client will say that nobody listens
  return {
    [Symbol.dispose]: () => {
      for (const child of children) child.kill('SIGTERM');
    },
  };
}

async function isListening(netns: string, { exec }: Machine): Promise<boolean> {
  return (await exec(['ss', '-Hltn', 'sport = :5201'], { netns })).trim() !== '';
}

async function stream(netns: string, address: string, { exec }: Machine): Promise<number> {
  const argv = ['iperf3', '-c', address, '-t', '1', '-J', '--connect-timeout', '2000'];
  const { end } = JSON.parse(await exec(argv, { netns, timeoutMs: 15_000 })) as {
    end: { sum_received: { bits_per_second: number } };
  };
  return end.sum_received.bits_per_second / 1e9;
}

const pings = { count: 100, intervalSeconds: 0.002 };

/** Measures all pairs in all families, `runs` times round. */
export async function measure(
  place: Place,
  pairs: readonly Pair[],
  families: readonly Family[],
  runs: number,
  machine: Machine,
): Promise<Measurement[]> {
  const servers = [...new Set(pairs.map((p) => p.to.host))];
  using _servers = serve(place, servers);
  for (const host of servers) {
    if (!(await waitUntil(() => isListening(place.netns(host), machine), 5000, 50)))
      throw new Error(`iperf3 does not listen in ${host}`);
  }
  const results = pairs.flatMap((pair) =>
    families.map((family) => ({
      pair,
      figures: { label: pair.label, family, gigabitsPerSecond: [] as number[], pingMicroseconds: [] as number[] },
    })),
  );
  for (let run = 0; run < runs; run++) {
    for (const { pair, figures } of results) {
      const netns = place.netns(pair.from.host);
      const address = pair.to.addresses[figures.family]!;
      const rtts = await ping(netns, address, pings, machine);
      figures.pingMicroseconds.push(...rtts.map((ms) => Math.round(ms * 1000)));
      figures.gigabitsPerSecond.push(await stream(netns, address, machine));
    }
  }
  return results.map((r) => r.figures);
}

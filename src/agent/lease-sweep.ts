/**
 * Frees leaked leases without being told by a runtime: at the start, from time to time, and when the node's own pool becomes full.
 * Only what was found leaked twice, a grace period apart, and is older than that: a look is never exact in the very moment.
 */

import { freeLeases } from '../ipam/free.ts';
import type { JudgedLease } from '../ipam/judge.ts';
import { type Place, survey } from '../ipam/survey.ts';
import type { Machine } from '../kernel/machine.ts';
import { formatAddress } from '../net/address.ts';
import type { RangeSet } from '../net/range.ts';
import { Leases } from '../store/leases.ts';
import type { AgentConfig } from './config.ts';
import { type Log, Once } from './log.ts';
import { conflistNetwork } from './node-files.ts';
import type { Status } from './status.ts';
import { pause, type Task } from './task.ts';

export interface LeaseSweepParts {
  readonly config: AgentConfig;
  readonly machine: Machine;
  readonly status: Status;
  readonly log: Log;
  /** The sets that pods of this node get their addresses from; none while they are not known. */
  readonly pools: () => readonly RangeSet[];
  /** The file that tells the boot, when it is not the kernel's. */
  readonly bootId?: string;
}

/** How often the pool's filling is looked at: one reading of a folder's names. */
const poolLookMs = 10_000;

/** One lease and no later one of its address. */
const keyOf = ({ network, found }: JudgedLease): string =>
  [network, formatAddress(found.address), found.file.ino, found.file.mtimeMs, found.entry?.file].join(' ');

export class LeaseSweep implements Task {
  readonly name = 'lease-sweep';
  readonly #parts: LeaseSweepParts;
  readonly #place: Place;
  readonly #said = { sweep: new Once(), pool: new Once() };
  /** Leases that were found leaked, and when first, in ms of performance.now(). */
  #suspects = new Map<string, number>();

  constructor(parts: LeaseSweepParts) {
    this.#parts = parts;
    this.#place = { dataDir: parts.config.paths.leases, ...(parts.bootId !== undefined && { bootId: parts.bootId }) };
  }

  /** Pods are attached without it. */
  notReady(): undefined {
    return undefined;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#attempt('sweep', () => this.sweep());
      await this.#wait(signal);
    }
  }

  /** Until the time is up: sooner where there is something to be looked at a second time, or the pool is full. */
  async #wait(signal: AbortSignal): Promise<void> {
    const { everySeconds, graceSeconds } = this.#parts.config.sweep;
    const started = performance.now();
    const elapsed = () => performance.now() - started;
    const graceMs = graceSeconds * 1000;
    const wholeMs = this.#suspects.size > 0 ? Math.min(graceMs, everySeconds * 1000) : everySeconds * 1000;
    while (!signal.aborted && elapsed() < wholeMs) {
      await pause(Math.min(poolLookMs, Math.max(graceMs, 1), wholeMs - elapsed()), signal);
      const isFull = await this.#attempt('pool', async () => this.lookAtPool());
      if (isFull && elapsed() >= graceMs) return;
    }
  }

  /** A failure is said when it appears and when it is over, and ends nothing. */
  async #attempt<T>(step: 'sweep' | 'pool', work: () => Promise<T>): Promise<T | undefined> {
    const { log } = this.#parts;
    let failure: string[] = [];
    try {
      return await work();
    } catch (error) {
      failure = [`leases cannot be swept: ${(error as Error).message}`];
      return undefined;
    } finally {
      this.#said[step].update(
        failure,
        (text) => log('warn', text),
        (text) => log('info', 'no longer', { problem: text }),
      );
    }
  }

  /** Looks at all leases, frees those that have been leaked for the grace period, and answers them. */
  async sweep(): Promise<readonly JudgedLease[]> {
    const { config, machine, status, log } = this.#parts;
    const graceMs = config.sweep.graceSeconds * 1000;
    const { leases } = await survey(this.#place, machine);
    const now = performance.now();
    const leaked = leases.filter((l) => l.state === 'leaked');
    this.#suspects = new Map(leaked.map((l) => [keyOf(l), this.#suspects.get(keyOf(l)) ?? now]));
    const isDue = (l: JudgedLease): boolean => {
      const first = this.#suspects.get(keyOf(l)) ?? now;
      return first < now && now - first >= graceMs && l.ageMs >= graceMs;
    };
    const freed = await freeLeases(leaked.filter(isDue), this.#place, machine);
    for (const { network, found, reason } of freed) {
      const { containerId, ifname } = found.owner;
      log('info', 'lease freed', { network, address: formatAddress(found.address), containerId, ifname, reason });
    }
    for (const lease of freed) this.#suspects.delete(keyOf(lease));
    status.leasesFreed(freed);
    status.leasesFound(leases.filter((l) => !freed.includes(l)));
    this.lookAtPool();
    return freed;
  }

  /** Whether one of the node's pools is as full as the configuration says. */
  lookAtPool(): boolean {
    const { config, status, pools } = this.#parts;
    const sets = pools();
    if (sets.length === 0) return false;
    const usage = new Leases(config.paths.leases, conflistNetwork, this.#place.bootId).usage(sets);
    status.poolsFound(usage.map((u, i) => ({ ...u, family: sets[i]![0]!.start.family })));
    return usage.some(({ size, taken }) => taken * 100n >= size * BigInt(config.sweep.fullPercent));
  }
}

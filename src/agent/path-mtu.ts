/**
 * Measures how long packets may be on their way to the other nodes' addresses, since routers in between may let less through than our
 * own link, and may not say so. Pings that must not be fragmented, at most ten a second and four at a time however many nodes there
 * are: one a node where all is well. What was found stays in a file of `paths.run`, so that a new start of the agent changes nothing.
 */

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CommandError } from '../errors.ts';
import type { Run } from '../kernel/workers.ts';
import type { PathTarget } from '../plan/path-mtu.ts';
import { readEntries, writeDocument } from '../store/files.ts';
import type { AgentConfig } from './config.ts';
import type { Log } from './log.ts';
import { findPathMtu, type Ping } from './path-search.ts';
import { pingArgv } from './ping.ts';
import { pause, type Task } from './task.ts';

/** Paths measured at a time. */
const breadth = 4;
/** Between the starts of two pings. */
const spacingMs = 100;

export const pathMtuFile = (run: string): string => join(run, 'path-mtu.json');

/** What was measured when the file was written; a file that is not there or not right is as good as none. */
const readMeasured = (run: string): Map<string, number> =>
  readEntries(pathMtuFile(run), (value) => typeof value === 'number');

/** What the agent of this configuration goes by, for `culvert plan`. */
export const readPathMtus = ({ pathMtu, paths }: AgentConfig): ReadonlyMap<string, number> =>
  pathMtu.enabled ? readMeasured(paths.run) : new Map();

export interface PathMtuParts {
  readonly enabled: boolean;
  /** How long a measurement holds. */
  readonly everySeconds: number;
  readonly run: string;
  readonly ping: Run;
  /** Called when a path is not as wide as it was. */
  readonly changed: () => void;
  readonly log: Log;
}

interface Path {
  target: PathTarget;
  dueMs: number;
}

export class PathMtu implements Task {
  readonly name = 'path-mtu';
  readonly #parts: PathMtuParts;
  readonly #measured: Map<string, number>;
  readonly #paths = new Map<string, Path>();
  #wake = new AbortController();
  #nextPingMs = 0;
  #isUnsaved = false;
  #noProgram: string | undefined;

  constructor(parts: PathMtuParts) {
    this.#parts = parts;
    this.#measured = parts.enabled ? readMeasured(parts.run) : new Map();
  }

  notReady(): undefined {
    return undefined;
  }

  /** By address; none for one that never answered. */
  get measured(): ReadonlyMap<string, number> {
    return this.#measured;
  }

  get problems(): string[] {
    return this.#noProgram ? [`the MTU of paths is not measured: ${this.#noProgram}`] : [];
  }

  /** Measures these and no others; at once those that are new or that this host sees in another way. */
  aim(targets: readonly PathTarget[]): void {
    if (!this.#parts.enabled) return;
    const now = performance.now();
    const gone = new Set(this.#paths.keys());
    let isNew = false;
    for (const target of targets) {
      gone.delete(target.address);
      const known = this.#paths.get(target.address);
      if (known?.target.mtuBytes === target.mtuBytes) continue;
      this.#paths.set(target.address, { target, dueMs: now });
      isNew = true;
    }
    for (const address of gone) {
      this.#paths.delete(address);
      this.#isUnsaved = this.#measured.delete(address) || this.#isUnsaved;
    }
    if (!isNew) return;
    this.#wake.abort();
    this.#wake = new AbortController();
  }

  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake.abort());
    await Promise.all(Array.from({ length: breadth }, () => this.#work(signal)));
  }

  async #work(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const path = this.#next();
      if (path && path.dueMs <= performance.now()) {
        await this.#measure(path, signal);
        continue;
      }
      if (this.#isUnsaved) this.#save();
      await pause(path ? Math.min(path.dueMs - performance.now(), 3_600_000) : 3_600_000, this.#wake.signal);
    }
  }

  /** The path that is due first, those being measured aside. */
  #next(): Path | undefined {
    let first: Path | undefined;
    for (const path of this.#paths.values()) if (path.dueMs < (first?.dueMs ?? Number.POSITIVE_INFINITY)) first = path;
    return first;
  }

  async #measure(path: Path, signal: AbortSignal): Promise<void> {
    const { node, address, family, mtuBytes } = path.target;
    path.dueMs = Number.POSITIVE_INFINITY;
    const found = await findPathMtu(family, mtuBytes, this.#ping(path.target, signal));
    path.dueMs = performance.now() + this.#parts.everySeconds * 1000;
    // a node that does not answer at all is away, or does not answer anybody: what was found before still holds
    if (found === undefined || signal.aborted || this.#paths.get(address) !== path) return;
    const known = this.#measured.get(address);
    if (found === known) return;
    this.#measured.set(address, found);
    this.#isUnsaved = true;
    const before = known ?? mtuBytes;
    if (found === before) return;
    this.#parts.log('info', 'path MTU', { node, address, mtu: found, before });
    this.#save();
    this.#parts.changed();
  }

  #save(): void {
    this.#isUnsaved = false;
    writeDocument(pathMtuFile(this.#parts.run), Object.fromEntries(this.#measured));
  }

  /** Pings of one address, each when its turn has come. */
  #ping({ address }: PathTarget, signal: AbortSignal): Ping {
    return async (bytes) => {
      const now = performance.now();
      this.#nextPingMs = Math.max(this.#nextPingMs + spacingMs, now);
      await sleep(this.#nextPingMs - now);
      if (signal.aborted) return { passed: false };
      try {
        // one a quarter of a second until one is answered, for a second
        await this.#parts.ping(pingArgv({ address, bytes }, ['-w', '1', '-i', '0.25']));
        this.#noProgram = undefined;
        return { passed: true };
      } catch (error) {
        if (!(error instanceof CommandError)) throw error;
        this.#noProgram = error.reason === 'no-program' ? error.stderr : undefined;
        // "Frag needed and DF set (mtu = 1300)", "Packet too big: mtu=1300", "message too long, mtu: 1300"
        const said = /mtu\s*[:=]\s*(\d+)/.exec(error.stderr)?.[1];
        return { passed: false, ...(said && { said: Number(said) }) };
      }
    };
  }
}

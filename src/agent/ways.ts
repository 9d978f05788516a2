/**
 * Mode auto at work: asks the other nodes over every way to them, over and over, and lets choice.ts decide which way carries. What
 * was decided lies in a file of the agent's folder: the next agent, and `culvert plan`, begin with it.
 */

import { join } from 'node:path';
import type { Registry } from 'prom-client';
import type { Run } from '../kernel/workers.ts';
import type { NodeWays, WayProbe } from '../plan/auto.ts';
import {
  type Choice,
  choose,
  fallbackOf,
  hear,
  type Passing,
  passings,
  unheard,
  type WayRecord,
} from '../plan/choice.ts';
import { type ClusterTraffic, type WayMode, wayModes } from '../plan/cluster.ts';
import { type NodePlan, packetBytes } from '../plan/node.ts';
import { pool } from '../pool.ts';
import { readEntries, writeDocument } from '../store/files.ts';
import type { Log } from './log.ts';
import { ping } from './ping.ts';
import { pause, type Task } from './task.ts';
import { WayMetrics } from './way-metrics.ts';

/** Questions at a time. */
const breadth = 32;
/** Each question is a process: many nodes are asked more seldom. */
const perQuestionMs = 20;

export const chosenFile = (run: string): string => join(run, 'ways.json');

/** What carried to each node when it was last decided; nothing where nobody has decided yet. */
export const readChosen = (run: string): Map<string, WayMode> =>
  readEntries(chosenFile(run), (value): value is WayMode => wayModes.includes(value as WayMode));

/** What gets through to an address; what is believed so far says what is asked first. */
async function askOne(run: Run, probe: WayProbe, bytes: number, believed: Passing | undefined): Promise<Passing> {
  const small = () => ping(run, probe);
  const full = () => ping(run, { ...probe, bytes });
  if (believed === 'full') return (await full()) ? 'full' : (await small()) ? 'small' : 'none';
  return !(await small()) ? 'none' : (await full()) ? 'full' : 'small';
}

/** One node's ways as /status tells them. */
export interface WayStatus extends Choice {
  readonly node: string;
  /** What is believed of each way. */
  readonly passing: Readonly<Partial<Record<WayMode, Passing>>>;
  /** What cannot be had. */
  readonly lacking: readonly string[];
}

interface Question {
  readonly node: string;
  readonly way: WayMode;
  readonly probes: readonly WayProbe[];
  /** How long pods' packets to this node may be. */
  readonly bytes: number;
}

export interface WaysParts {
  /** How often everybody is asked, where they are not too many. */
  readonly everySeconds: number;
  readonly run: string;
  readonly ping: Run;
  readonly registry: Registry;
  readonly log: Log;
  /** Called when another way is to carry, or when the first answers are there. */
  readonly changed: () => void;
}

export class Ways implements Task {
  readonly name = 'ways';
  readonly #parts: WaysParts;
  readonly #metrics: WayMetrics;
  readonly #chosen: Map<string, WayMode>;
  readonly #records = new Map<string, Map<WayMode, WayRecord>>();
  #aimed: readonly NodeWays[] = [];
  #bytesTo = (_podCIDRs: readonly string[]): number => 0;
  #wake = new AbortController();

  constructor(parts: WaysParts) {
    this.#parts = parts;
    this.#metrics = new WayMetrics(parts.registry);
    this.#chosen = readChosen(parts.run);
  }

  notReady(): undefined {
    return undefined; // the loop waits for us
  }

  /** What carries, by node. */
  get chosen(): ReadonlyMap<string, WayMode> {
    return new Map(this.#chosen);
  }

  /** Every node has been asked once. */
  get isSettled(): boolean {
    return this.#probed.every(({ node }) => this.#records.has(node));
  }

  get #probed(): readonly NodeWays[] {
    return this.#aimed.filter(({ candidates }) => candidates.some((c) => c.probes.length > 0));
  }

  get status(): WayStatus[] {
    return this.#aimed.map((ways) => ({
      node: ways.node,
      ...this.#choiceOf(ways),
      passing: Object.fromEntries(this.#heardOf(ways).flatMap((h) => (h.passing ? [[h.way, h.passing]] : []))),
      lacking: ways.lacking,
    }));
  }

  /** Nodes that nothing leads to. */
  get problems(): string[] {
    return this.#probed
      .filter((w) => this.#isSilent(w))
      .map(({ node, candidates }) => {
        const tried = candidates.map((c) => c.way).join(', ');
        return `no way to node "${node}" passes (${tried}): it is down, or see "culvert probe"`;
      });
  }

  /** That mode auto has to do without its first choice. */
  get fallback(): string[] {
    return fallbackOf(this.#probed.map((w) => ({ first: w.candidates[0]!.way, way: this.#choiceOf(w).way })));
  }

  /** While traffic changes to or from mode auto: nodes that have not answered over what is only accepted. */
  unanswered({ mode, alsoAccept }: ClusterTraffic): string[] {
    const next = alsoAccept?.mode;
    if (next === 'auto') {
      const passes = (w: NodeWays) => this.#heardOf(w).some((h) => h.passing && h.passing !== 'none');
      return this.#probed.filter((w) => !passes(w)).map(({ node }) => `${node} by any way`);
    }
    if (mode !== 'auto' || next === undefined) return [];
    const fails = (w: NodeWays) => this.#heardOf(w).some((h) => h.way === next && (h.passing ?? 'none') === 'none');
    return this.#probed.filter(fails).map(({ node }) => `${node} by ${next}`);
  }

  /** The ways there are now; what is known of those that stay is kept. */
  aim(plan: NodePlan): void {
    const { ways } = plan;
    const names = new Set(ways.map((w) => w.node));
    const isNew = ways.some((w) => !this.#aimed.some((a) => a.node === w.node));
    for (const node of this.#records.keys()) if (!names.has(node)) this.#records.delete(node);
    if (ways.length > 0) for (const node of this.#chosen.keys()) if (!names.has(node)) this.#chosen.delete(node);
    this.#aimed = ways;
    this.#bytesTo = packetBytes(plan);
    this.#metrics.set(this.status);
    if (isNew) this.#wake.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake.abort());
    while (!signal.aborted) {
      const started = performance.now();
      const questions = await this.#round(signal);
      const waitMs = questions === 0 ? 3_600_000 : Math.max(this.#parts.everySeconds * 1000, questions * perQuestionMs);
      await pause(Math.max(0, waitMs - (performance.now() - started)), this.#wake.signal);
      this.#wake = new AbortController();
    }
  }

  #heardOf({ node, candidates }: NodeWays) {
    const records = this.#records.get(node);
    return candidates.map(({ way }) => ({ way, passing: records?.get(way)?.passing }));
  }

  #isSilent(ways: NodeWays): boolean {
    return this.#heardOf(ways).every((h) => h.passing === 'none');
  }

  #choiceOf(ways: NodeWays): Choice {
    const { candidates, carries } = ways;
    if (candidates.length === 1) return { way: carries, why: 'the only one' };
    return choose(carries, this.#heardOf(ways));
  }

  /** Over all families of pods; the least of it counts. */
  async #ask({ node, way, probes, bytes }: Question): Promise<Passing> {
    const believed = this.#records.get(node)?.get(way)?.passing;
    const heard = await Promise.all(probes.map((p) => askOne(this.#parts.ping, p, bytes, believed)));
    return passings.find((p) => heard.includes(p)) ?? 'none';
  }

  /** Asks everybody over every way once; answers how many questions that took. */
  async #round(signal: AbortSignal): Promise<number> {
    const aimed = this.#probed;
    const wasSettled = this.isSettled;
    const questions = aimed.flatMap(({ node, candidates, podCIDRs }) => {
      const bytes = this.#bytesTo(podCIDRs);
      return candidates.map((c) => ({ node, bytes, ...c }));
    });
    const answers = await pool(questions, breadth, async (question) =>
      signal.aborted ? undefined : this.#ask(question),
    );
    if (signal.aborted) return questions.length;
    for (const [i, { node, way }] of questions.entries()) {
      const records = this.#records.get(node) ?? new Map<WayMode, WayRecord>();
      records.set(way, hear(records.get(way) ?? unheard, answers[i]!));
      this.#records.set(node, records);
    }
    const isChanged = this.#decide(aimed);
    this.#metrics.set(this.status);
    if (isChanged || !wasSettled) this.#parts.changed();
    return questions.length;
  }

  /** Answers whether anything carries another way than before. */
  #decide(aimed: readonly NodeWays[]): boolean {
    let isChanged = false;
    for (const ways of aimed) {
      const { node, carries } = ways;
      if (this.#heardOf(ways).every((h) => h.passing === undefined)) continue;
      const { way, why } = this.#choiceOf(ways);
      const before = this.#chosen.get(node);
      if (way === before) continue;
      this.#chosen.set(node, way);
      isChanged = true;
      this.#parts.log('info', 'way', { node, way, ...(before && { before }), why });
      if ((before ?? carries) !== way) this.#metrics.changed();
    }
    if (isChanged) writeDocument(chosenFile(this.#parts.run), Object.fromEntries(this.#chosen));
    return isChanged;
  }
}

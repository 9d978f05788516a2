/**
 * While traffic changes its way: pings the other nodes' tunnel addresses over the way that is only accepted so far (the plan
 * leads them there), until each has answered once. /status names those that have not.
 */

import type { Run } from '../kernel/workers.ts';
import type { Probe } from '../plan/trial.ts';
import { pool } from '../pool.ts';
import { ping } from './ping.ts';
import { pause, type Task } from './task.ts';

/** Pings at a time. */
const breadth = 16;
const everyMs = 300;

export class Prober implements Task {
  readonly name = 'probe';
  readonly #run: Run;
  #unanswered: readonly Probe[] = [];
  #aimed = '';
  #wake = new AbortController();

  constructor(run: Run) {
    this.#run = run;
  }

  notReady(): undefined {
    return undefined;
  }

  /** "node2 at 10.244.2.0" */
  get unanswered(): string[] {
    return this.#unanswered.map(({ node, address }) => `${node} at ${address}`);
  }

  /** Asks these, all of them anew when they or the cluster are not those of before. */
  aim(probes: readonly Probe[], cluster = ''): void {
    const aimed = probes.length === 0 ? '' : `${cluster} ${probes.map((p) => p.address).join(' ')}`;
    if (aimed === this.#aimed) return;
    this.#aimed = aimed;
    this.#unanswered = probes;
    this.#wake.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake.abort());
    while (!signal.aborted) {
      await pool(this.#unanswered, breadth, async (probe) => {
        if (!signal.aborted) await this.#ask(probe);
      });
      await pause(this.#unanswered.length > 0 ? everyMs : 3_600_000, this.#wake.signal);
      this.#wake = new AbortController();
    }
  }

  async #ask(probe: Probe): Promise<void> {
    if (await ping(this.#run, probe)) this.#unanswered = this.#unanswered.filter((p) => p !== probe);
  }
}

/** When to look again: soon after a reason, else after some time. Many reasons in a row are one. */

import { pause } from './task.ts';

/** Long enough for the lines of one change to arrive together. */
const gatherMs = 10;

export class Wake {
  #reasons = 0;
  #interrupt = new AbortController();
  /** The last wait ended because time was up, not for a reason. */
  byTime = true;

  soon(): void {
    this.#reasons++;
    this.#interrupt.abort();
  }

  /** Ends any wait at once: the agent stops. */
  stop(): void {
    this.#interrupt.abort();
  }

  /** Waits for a reason (one that came since the last wait counts) or for `maxMs`. */
  async next(maxMs: number): Promise<void> {
    await pause(maxMs, this.#interrupt.signal);
    this.byTime = this.#reasons === 0;
    if (!this.byTime) await pause(gatherMs);
    this.#reasons = 0;
    this.#interrupt = new AbortController();
  }
}

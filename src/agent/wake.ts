/** When to look again, and why: the cluster source changed, the host did, or simply time went by. Many reasons in a row are one. */

import { pause } from './task.ts';

export type Reason = 'source' | 'host' | 'time';

/** Long enough for the lines of one change to arrive together. */
const gatherMs = 2;

export class Wake {
  #next = new Set<Reason>();
  #interrupt = new AbortController();
  #later: { reason: Reason; timer: NodeJS.Timeout } | undefined;
  /** Why the last wait ended. At the start everything has to be looked at. */
  reasons: ReadonlySet<Reason> = new Set<Reason>(['time']);

  soon(reason: Reason): void {
    if (this.#later?.reason === reason) return;
    this.#next.add(reason);
    this.#interrupt.abort();
  }

  /** Not for what has come of this reason since the last wait, but after so long, with all that comes until then. */
  later(reason: Reason, ms: number): void {
    this.#next.delete(reason);
    if (this.#next.size === 0) this.#interrupt = new AbortController();
    if (this.#later) return;
    const timer = setTimeout(() => {
      this.#later = undefined;
      this.soon(reason);
    }, ms).unref();
    this.#later = { reason, timer };
  }

  /** What `later` was to wake for is done now. */
  notLater(): void {
    clearTimeout(this.#later?.timer);
    this.#later = undefined;
  }

  /** Ends any wait at once: the agent stops. */
  stop(): void {
    this.#interrupt.abort();
  }

  /** Waits for a reason (one that came since the last wait counts) or for `maxMs`. */
  async next(maxMs: number): Promise<void> {
    await pause(maxMs, this.#interrupt.signal);
    if (this.#next.size > 0) await pause(gatherMs);
    else this.#next.add('time');
    this.reasons = this.#next;
    this.#next = new Set();
    this.#interrupt = new AbortController();
  }
}

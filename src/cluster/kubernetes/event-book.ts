/**
 * Which Event is to be written next, and when. Pure. One of each reason, written anew when it says something else, when it stands
 * again, and before the API server forgets it. However wild the problems, an agent writes no more often than `paceMs` allows, and of each reason
 * once in five minutes; that pace grows with the cluster, so that all agents together stay below a hundred a second.
 */

/** What is over so soon is nobody's business. */
export const settleMs = 5000;
/** The same reason again, and no sooner. */
export const againMs = 300_000;
/** The API server keeps Events for an hour, if not told otherwise. */
export const refreshMs = 1_800_000;
/** Between tries that failed, doubled with each. */
export const longestRetryMs = 600_000;

/** Between two Events of one agent, in the middle. */
export const paceMs = (nodes: number): number => Math.max(1000, nodes * 10);

interface Standing {
  readonly message: string;
  /** When it is to be written, if it has not been since it stands. */
  readonly dueMs: number;
  readonly isNew: boolean;
}

export interface Due {
  readonly reason: string;
  readonly message: string;
}

export class EventBook {
  #standing = new Map<string, Standing>();
  readonly #written = new Map<string, { message: string; atMs: number }>();
  readonly #random: () => number;
  #quietUntilMs = 0;
  #failures = 0;

  /** `random` answers from 0 to 1. */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** What stands at present, by reason; `nodes` share the API server. */
  stand(now: ReadonlyMap<string, string>, nodes: number, atMs: number): void {
    const before = this.#standing;
    this.#standing = new Map(
      [...now].map(([reason, message]) => {
        const old = before.get(reason);
        // a cause that all nodes share would have all of them write at once
        const dueMs = old?.dueMs ?? atMs + settleMs + this.#random() * paceMs(nodes);
        return [reason, { message, dueMs, isNew: old?.isNew ?? true }];
      }),
    );
  }

  /** The one that has waited longest; undefined when nothing may be written yet. */
  next(atMs: number): Due | undefined {
    if (atMs < this.#quietUntilMs) return undefined;
    const due = [...this.#standing].filter(([reason, standing]) => this.#isDue(reason, standing, atMs));
    const first = due.sort(([, a], [, b]) => a.dueMs - b.dueMs)[0];
    return first && { reason: first[0], message: first[1].message };
  }

  #isDue(reason: string, { message, dueMs, isNew }: Standing, atMs: number): boolean {
    const last = this.#written.get(reason);
    if (!last) return atMs >= dueMs;
    const isStale = atMs - last.atMs >= refreshMs;
    return atMs >= dueMs && atMs - last.atMs >= againMs && (isNew || isStale || message !== last.message);
  }

  wrote({ reason, message }: Due, nodes: number, atMs: number): void {
    this.#failures = 0;
    this.#written.set(reason, { message, atMs });
    const standing = this.#standing.get(reason);
    if (standing) this.#standing.set(reason, { ...standing, isNew: false, dueMs: atMs });
    this.#rest(paceMs(nodes), atMs);
  }

  /** The API server did not take it. */
  failed(nodes: number, atMs: number): void {
    this.#failures++;
    this.#rest(Math.min(paceMs(nodes) * 2 ** this.#failures, Math.max(longestRetryMs, paceMs(nodes))), atMs);
  }

  #rest(ms: number, atMs: number): void {
    this.#quietUntilMs = atMs + ms * (0.5 + this.#random());
  }
}

/** Warnings on this agent's own Node, as `kubectl describe node` shows them. One of a reason; later ones take its place and are counted. */

import { setTimeout as sleep } from 'node:timers/promises';
import { type Api, ApiError, said } from './api.ts';
import { type Due, EventBook } from './event-book.ts';

const path = '/api/v1/namespaces/default/events';
const lookMs = 500;
/** So long a write may take that nobody waits for. */
const tellMs = 30_000;
/** kubectl shows whole messages; the newer API of Events takes a kilobyte. */
const longestMessage = 1000;

const isStatus = (error: unknown, status: number): boolean => error instanceof ApiError && error.status === status;

interface EventText {
  readonly message: string;
  readonly lastTimestamp: string;
}

export interface EventsParts {
  readonly api: Api;
  /** The Node's name. */
  readonly node: string;
  /** How many share the API server. */
  readonly nodes: () => number;
  readonly log: (level: 'info' | 'warn', msg: string, fields?: Readonly<Record<string, unknown>>) => void;
}

export class Events {
  readonly #parts: EventsParts;
  readonly #book = new EventBook(Math.random);
  /** How often an Event has been seen, as the API server has it. */
  readonly #counts = new Map<string, number>();
  #failure = '';

  constructor(parts: EventsParts) {
    this.#parts = parts;
  }

  /** All that stands at present: messages by reason. */
  stand(now: ReadonlyMap<string, string>): void {
    this.#book.stand(now, this.#parts.nodes(), performance.now());
  }

  /** Writes at once, and once, what has happened and does not stand: for what people bring about one at a time. */
  tell(happened: Due): Promise<void> {
    return this.#attempt(happened, AbortSignal.timeout(tellMs));
  }

  /** Writes what is due, one after the other, until the signal. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const due = this.#book.next(performance.now());
      if (due) await this.#attempt(due, signal);
      await sleep(lookMs, undefined, { signal }).catch(() => {});
    }
  }

  async #attempt(due: Due, signal: AbortSignal): Promise<void> {
    const { nodes, log } = this.#parts;
    try {
      await this.#write(due, signal);
      this.#book.wrote(due, nodes(), performance.now());
      this.#failure = '';
    } catch (error) {
      this.#book.failed(nodes(), performance.now());
      const failure = said(error as Error);
      if (failure !== this.#failure && !signal.aborted) {
        log('warn', 'cannot write an Event', { reason: due.reason, error: failure });
      }
      this.#failure = failure;
    }
  }

  async #write({ reason, message: text }: Due, signal: AbortSignal): Promise<void> {
    const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
    const message = text.length > longestMessage ? `${text.slice(0, longestMessage - 1)}…` : text;
    const event = { message, lastTimestamp: now };
    this.#counts.set(reason, await this.#put(reason, event, this.#counts.get(reason), signal));
  }

  /** Answers how often it has been seen; `count` is that of before, unknown to an agent that has not written it yet. */
  async #put(reason: string, event: EventText, count: number | undefined, signal: AbortSignal): Promise<number> {
    if (count !== undefined) {
      try {
        return await this.#patch(reason, { ...event, count: count + 1 }, signal);
      } catch (error) {
        if (!isStatus(error, 404)) throw error; // forgotten
      }
    }
    try {
      return await this.#create(reason, event, signal);
    } catch (error) {
      if (!isStatus(error, 409)) throw error;
    }
    // one of an earlier agent is there: only an answer tells how often that has seen it
    const before = await this.#patch(reason, event, signal);
    return this.#patch(reason, { count: before + 1 }, signal);
  }

  #nameOf(reason: string): string {
    return `${this.#parts.node}.culvert.${reason.toLowerCase()}`;
  }

  /** Answers the count that the API server has now. */
  async #create(reason: string, event: EventText, signal: AbortSignal): Promise<number> {
    const { api, node } = this.#parts;
    const body = {
      ...event,
      metadata: { name: this.#nameOf(reason), namespace: 'default' },
      type: 'Warning',
      reason,
      firstTimestamp: event.lastTimestamp,
      count: 1,
      // kubelet and kubectl know the Events of a Node by its name in place of its uid
      involvedObject: { apiVersion: 'v1', kind: 'Node', name: node, uid: node },
      source: { component: 'culvert', host: node },
    };
    return (await api.object<{ count?: number }>(path, { method: 'POST', body, signal })).count ?? 1;
  }

  async #patch(reason: string, body: object, signal: AbortSignal): Promise<number> {
    const { api } = this.#parts;
    const at = `${path}/${this.#nameOf(reason)}`;
    return (await api.object<{ count?: number }>(at, { method: 'PATCH', body, signal })).count ?? 1;
  }
}

/**
 * Objects of one kind, and every change of them, for as long as the signal lasts: one list, then one watch that goes on from where the
 * last one ended. Both are answered from the API server's cache, never from etcd, but for a list after the server has forgotten where we were.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { type Api, ApiError, isExpired } from './api.ts';
import { readList } from './list.ts';

/** What every object has. */
export interface KubeObject {
  readonly metadata: { readonly name: string; readonly resourceVersion?: string };
}

/** Who hears of objects, by their names. */
export interface Follower<T> {
  /** These are all. */
  replace(all: ReadonlyMap<string, T>): void;
  put(name: string, one: T): void;
  drop(name: string): void;
  /** The server has answered. */
  answered(): void;
  /** It has not; it is asked again. */
  failed(error: Error): void;
}

/** What is followed. */
export interface Followed<O extends KubeObject, T> {
  readonly path: string;
  /** Of all that is there: "metadata.name=one". */
  readonly fieldSelector?: string;
  /** What is kept of an object; the rest of it is dropped as it arrives. */
  readonly keep: (object: O) => T;
}

interface WatchEvent<O> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: O & { code?: number; message?: string };
}

/** Bookmarks come once a minute: silence for so long is a dead connection. */
const idleMs = 150_000;
/** The server ends a watch after so many seconds; not all of them at once. */
const watchSeconds = (): number => 240 + Math.floor(Math.random() * 240);
/** A list by all agents at a time is what hurts a server most. */
const relistMs = (): number => Math.random() * 2000;
/** Between tries, from 0.25 s to 2.5 s, less up to half by chance: all is right five seconds after the server is back. */
const retryMs = (tries: number): number => Math.min(250 * 2 ** tries, 2500) * (0.5 + Math.random() / 2);

/** Unlike readline's, these throw when the stream breaks. */
async function* linesOf(stream: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    yield* lines;
  }
}

class Follow<O extends KubeObject, T> {
  readonly #api: Api;
  readonly #what: Followed<O, T>;
  readonly #on: Follower<T>;
  readonly #signal: AbortSignal;
  /** The resourceVersion to go on from; none: a list comes first. */
  #version = '';
  /** The list's own: at least as new as what was seen, and any version at the start. */
  #notOlderThan = '0';

  constructor(api: Api, what: Followed<O, T>, on: Follower<T>, signal: AbortSignal) {
    this.#api = api;
    this.#what = what;
    this.#on = on;
    this.#signal = signal;
  }

  async run(): Promise<void> {
    let tries = 0;
    let wasAway = false;
    while (!this.#signal.aborted) {
      try {
        if (this.#version === '') await this.#list();
        const lasted = await this.#watch();
        tries = lasted > 5000 ? 0 : tries + 1;
        wasAway = false;
        await this.#pause(retryMs(tries - 1));
      } catch (error) {
        if (this.#signal.aborted) return;
        if (isExpired(error)) {
          this.#notOlderThan = this.#version;
          this.#version = '';
          // one that starts anew has forgotten; who has tried until it was back comes at a time of their own already
          if (!wasAway) await this.#pause(relistMs());
          wasAway = false;
        } else {
          wasAway = true;
          this.#on.failed(error as Error);
          await this.#pause(retryMs(tries++));
        }
      }
    }
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#signal }).catch(() => {});
  }

  #url(query: Readonly<Record<string, string>>): string {
    const { path, fieldSelector } = this.#what;
    return `${path}?${new URLSearchParams({ ...(fieldSelector !== undefined && { fieldSelector }), ...query })}`;
  }

  async #list(): Promise<void> {
    const url = this.#url(this.#notOlderThan === '' ? {} : { resourceVersion: this.#notOlderThan });
    try {
      const answer = await this.#api.call(url, { signal: this.#signal });
      const all = new Map<string, T>();
      const version = await readList(answer, (item) => {
        const object = item as O;
        all.set(object.metadata.name, this.#what.keep(object));
      });
      this.#on.answered();
      this.#on.replace(all);
      this.#version = version;
    } catch (error) {
      // forgotten, or of an etcd that was set back and so yet to come: whatever there is now
      if (error instanceof ApiError && [410, 504].includes(error.status)) this.#notOlderThan = '';
      throw error;
    }
  }

  /** Answers how long it lasted, in milliseconds; whatever ends it after it has begun is an end like any other. */
  async #watch(): Promise<number> {
    const url = this.#url({
      watch: 'true',
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(watchSeconds()),
      resourceVersion: this.#version,
    });
    const answer = await this.#api.call(url, { signal: this.#signal, idleMs });
    this.#on.answered();
    const started = performance.now();
    try {
      for await (const line of linesOf(answer.setEncoding('utf8'))) this.#take(JSON.parse(line) as WatchEvent<O>);
    } catch (error) {
      if (error instanceof ApiError) throw error;
    } finally {
      answer.destroy();
    }
    return performance.now() - started;
  }

  #take({ type, object }: WatchEvent<O>): void {
    if (type === 'ERROR') throw new ApiError(object.code ?? 0, object.message ?? 'the watch failed');
    if (type === 'DELETED') this.#on.drop(object.metadata.name);
    else if (type !== 'BOOKMARK') this.#on.put(object.metadata.name, this.#what.keep(object));
    this.#version = object.metadata.resourceVersion ?? this.#version;
  }
}

export const follow = <O extends KubeObject, T>(
  api: Api,
  what: Followed<O, T>,
  on: Follower<T>,
  signal: AbortSignal,
): Promise<void> => new Follow(api, what, on, signal).run();

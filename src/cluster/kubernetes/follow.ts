/**
 * All Nodes, and every change of them, for as long as the signal lasts: one list, then one watch that goes on from where the last
 * one ended. Both are answered from the API server's cache, never from etcd, but for a list after the server has forgotten where we were.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { type Api, ApiError, isExpired } from './api.ts';
import { readList } from './list.ts';
import { type FoundNode, type NodeObject, readNode } from './node.ts';

export interface Follower {
  /** These are all. */
  replace(nodes: ReadonlyMap<string, FoundNode>): void;
  put(name: string, node: FoundNode): void;
  drop(name: string): void;
  /** The server has answered. */
  answered(): void;
  /** It has not; it is asked again. */
  failed(error: Error): void;
}

interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: NodeObject & { metadata: { resourceVersion?: string }; code?: number; message?: string };
}

const path = '/api/v1/nodes';
/** Bookmarks come once a minute: silence for so long is a dead connection. */
const idleMs = 150_000;
/** The server ends a watch after so many seconds; not all of them at once. */
const watchSeconds = (): number => 240 + Math.floor(Math.random() * 240);
/** A list by all agents at a time is what hurts a server most. */
const relistMs = (): number => Math.random() * 2000;
/** Between tries, from 0.25 s to 4 s, less up to half by chance. */
const retryMs = (tries: number): number => Math.min(250 * 2 ** tries, 4000) * (0.5 + Math.random() / 2);

/** Unlike readline's, these throw when the stream breaks. */
async function* linesOf(stream: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    yield* lines;
  }
}

class Follow {
  readonly #api: Api;
  readonly #on: Follower;
  readonly #signal: AbortSignal;
  /** The resourceVersion to go on from; none: a list comes first. */
  #version = '';
  /** The list's own: at least as new as what was seen, and any version at the start. */
  #notOlderThan = '0';

  constructor(api: Api, on: Follower, signal: AbortSignal) {
    this.#api = api;
    this.#on = on;
    this.#signal = signal;
  }

  async run(): Promise<void> {
    let tries = 0;
    while (!this.#signal.aborted) {
      try {
        if (this.#version === '') await this.#list();
        const lasted = await this.#watch();
        tries = lasted > 5000 ? 0 : tries + 1;
        await this.#pause(retryMs(tries - 1));
      } catch (error) {
        if (this.#signal.aborted) return;
        if (isExpired(error)) {
          this.#notOlderThan = this.#version;
          this.#version = '';
          await this.#pause(relistMs());
        } else {
          this.#on.failed(error as Error);
          await this.#pause(retryMs(tries++));
        }
      }
    }
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#signal }).catch(() => {});
  }

  async #list(): Promise<void> {
    const query = this.#notOlderThan === '' ? '' : `?resourceVersion=${this.#notOlderThan}`;
    try {
      const answer = await this.#api.call(path + query, { signal: this.#signal });
      const nodes = new Map<string, FoundNode>();
      const version = await readList(answer, (item) => {
        const node = readNode(item as NodeObject);
        nodes.set(node.entry.name, node);
      });
      this.#on.answered();
      this.#on.replace(nodes);
      this.#version = version;
    } catch (error) {
      // forgotten, or of an etcd that was set back and so yet to come: whatever there is now
      if (error instanceof ApiError && [410, 504].includes(error.status)) this.#notOlderThan = '';
      throw error;
    }
  }

  /** Answers how long it lasted, in milliseconds; whatever ends it after it has begun is an end like any other. */
  async #watch(): Promise<number> {
    const query = `watch=true&allowWatchBookmarks=true&timeoutSeconds=${watchSeconds()}&resourceVersion=${this.#version}`;
    const answer = await this.#api.call(`${path}?${query}`, { signal: this.#signal, idleMs });
    this.#on.answered();
    const started = performance.now();
    try {
      for await (const line of linesOf(answer.setEncoding('utf8'))) this.#take(JSON.parse(line) as WatchEvent);
    } catch (error) {
      if (error instanceof ApiError) throw error;
    } finally {
      answer.destroy();
    }
    return performance.now() - started;
  }

  #take({ type, object }: WatchEvent): void {
    if (type === 'ERROR') throw new ApiError(object.code ?? 0, object.message ?? 'the watch failed');
    if (type === 'DELETED') this.#on.drop(object.metadata.name);
    else if (type !== 'BOOKMARK') this.#on.put(object.metadata.name, readNode(object));
    this.#version = object.metadata.resourceVersion ?? this.#version;
  }
}

export const followNodes = (api: Api, on: Follower, signal: AbortSignal): Promise<void> =>
  new Follow(api, on, signal).run();

/**
 * What is made of a list, again and again, while few of its items change from one time to the next: large clusters' nodes are read and
 * planned so. An item that is the same object in the same place is not even looked at: of thousands that alone takes milliseconds.
 */

import { changedItems, middleOf } from './changed.ts';

/** One thing of each item: what was made of it is handed out again, and a diff passes over what is the same object in no time. */
export class MappedList<T, R> {
  #items: readonly T[] = [];
  #results: readonly R[] = [];
  /** Something was undefined. */
  #hasGaps = false;

  /** What `make` answered undefined for is made again. `holds` tells whether what was made before is still right. What `make` throws leaves everything as it was. */
  map(items: readonly T[], make: (item: T, index: number) => R, holds?: (result: R, item: T) => boolean): readonly R[] {
    const [before, known] = [this.#items, this.#results];
    const { start, end, endBefore } = middleOf(before, items);
    const moved = new Map<T, R>();
    for (let i = start; i < endBefore; i++) moved.set(before[i]!, known[i]!);
    const middle = items.slice(start, end).map((item, i): R => {
      const result = moved.get(item);
      moved.delete(item); // an item that comes twice is made twice
      const isRight = result !== undefined && (holds?.(result, item) ?? true);
      return isRight ? result : make(item, start + i);
    });
    const again = (result: R, i: number): R =>
      result !== undefined && (holds?.(result, items[i]!) ?? true) ? result : make(items[i]!, i);
    const isSure = !holds && !this.#hasGaps;
    const head = isSure ? known.slice(0, start) : known.slice(0, start).map(again);
    const tail = isSure ? known.slice(endBefore) : known.slice(endBefore).map((r, i) => again(r, end + i));
    this.#results = head.concat(middle, tail);
    this.#items = items;
    this.#hasGaps = (isSure ? middle : this.#results).includes(undefined as R);
    return this.#results;
  }
}

function sum(counts: readonly number[], from: number, to: number): number {
  let all = 0;
  for (let i = from; i < to; i++) all += counts[i]!;
  return all;
}

/** Of each item as many as it has, one after the other. */
export class FlatList<T, R> {
  readonly #make: (item: T) => readonly R[];
  #items: readonly T[] = [];
  /** How many each item has. */
  #counts: readonly number[] = [];
  #results: readonly R[] = [];

  constructor(make: (item: T) => readonly R[]) {
    this.#make = make;
  }

  of(items: readonly T[]): readonly R[] {
    const { start, end, endBefore } = middleOf(this.#items, items);
    const made = items.slice(start, end).map(this.#make);
    const first = sum(this.#counts, 0, start);
    const last = first + sum(this.#counts, start, endBefore);
    this.#results = this.#results.slice(0, first).concat(made.flat() as R[], this.#results.slice(last));
    const counts = made.map((m) => m.length);
    this.#counts = this.#counts.slice(0, start).concat(counts, this.#counts.slice(endBefore));
    this.#items = items;
    return this.#results;
  }
}

/** What items have, each once and in no order. */
export class Distinct<T, K> {
  readonly #keyOf: (item: T) => K;
  #items: readonly T[] = [];
  readonly #counts = new Map<K, number>();

  constructor(keyOf: (item: T) => K) {
    this.#keyOf = keyOf;
  }

  of(items: readonly T[]): readonly K[] {
    const { gone, fresh } = changedItems(this.#items, items);
    for (const item of fresh) this.#count(item, 1);
    for (const item of gone) this.#count(item, -1);
    this.#items = items;
    return [...this.#counts.keys()];
  }

  #count(item: T, more: 1 | -1): void {
    const key = this.#keyOf(item);
    const count = (this.#counts.get(key) ?? 0) + more;
    if (count > 0) this.#counts.set(key, count);
    else this.#counts.delete(key);
  }
}

/** Lists that are mapped again and again. */

import { middleOf } from './changed.ts';

/**
 * A list that is mapped again and again, and of which few items change from one time to the next: what was made of an item is handed
 * out again. Large clusters' nodes are read and planned so: to look each of thousands up in a map takes longer than most of what is
 * done for it, and a diff passes over what is the same object in no time.
 */
export class MappedList<T, R> {
  #items: readonly T[] = [];
  #results: readonly (R | undefined)[] = [];

  /** What `make` answered undefined for is made again. `holds` tells whether what was made before is still right. What `make` throws leaves everything as it was. */
  map(
    items: readonly T[],
    make: (item: T, index: number) => R,
    holds: (result: R, item: T) => boolean = () => true,
  ): readonly R[] {
    const [before, known] = [this.#items, this.#results];
    const { start, end, endBefore } = middleOf(before, items);
    const moved = new Map<T, R>();
    for (let i = start; i < endBefore; i++) moved.set(before[i]!, known[i]!);
    const results = items.map((item, i): R => {
      let result = i < start ? known[i] : i < end ? moved.get(item) : known[i - end + endBefore];
      moved.delete(item); // an item that comes twice is made twice
      if (result === undefined || !holds(result, item)) result = make(item, i);
      return result;
    });
    this.#items = items;
    this.#results = results;
    return results;
  }
}

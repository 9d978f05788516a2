/**
 * Prefixes put together: the fewest that cover exactly the same addresses. What lies inside another goes, neighbours that make up one
 * shorter prefix become it. 5,000 podCIDRs carved in order from one range come out as a handful, which keeps sets in the kernel small.
 */

import { changedItems } from '../changed.ts';
import { type Family, families } from './address.ts';
import { type Prefix, prefixesOf, type Span } from './prefix.ts';
import { firstWhere } from './search.ts';

/** Addresses without a gap: the first, and the one behind the last. */
interface Run {
  readonly first: bigint;
  readonly end: bigint;
}

/** Runs of one family, ascending, none of which touches the next. */
class Runs {
  readonly #runs: Run[] = [];

  /** The first run that ends there or later. */
  #placeOf(value: bigint): number {
    return firstWhere(this.#runs.length, (i) => this.#runs[i]!.end >= value);
  }

  /** Answers whether all of it is new. */
  add({ first, end }: Run): boolean {
    const last = this.#runs.at(-1);
    if (last?.end === first) {
      this.#runs[this.#runs.length - 1] = { first: last.first, end };
      return true;
    }
    const at = this.#placeOf(first);
    let to = at;
    while (to < this.#runs.length && this.#runs[to]!.first <= end) to++;
    const touched = this.#runs.slice(at, to);
    const [lowest, highest] = [touched[0], touched.at(-1)];
    this.#runs.splice(at, to - at, {
      first: lowest && lowest.first < first ? lowest.first : first,
      end: highest && highest.end > end ? highest.end : end,
    });
    return !touched.some((run) => run.first < end && first < run.end);
  }

  /** Takes away what was added, and shares no address with anything else that was. */
  remove({ first, end }: Run): void {
    const at = this.#placeOf(end);
    const run = this.#runs[at]!;
    const rest = [
      { first: run.first, end: first },
      { first: end, end: run.end },
    ];
    this.#runs.splice(at, 1, ...rest.filter((r) => r.first < r.end));
  }

  prefixes(family: Family): Prefix[] {
    return this.#runs.flatMap(({ first, end }) => prefixesOf(family, first, end - 1n));
  }
}

/** What items of a list cover, by family; a list of which few items have changed since the last is not put together anew. */
export class Aggregate<T> {
  readonly #spansOf: (item: T) => readonly Span[];
  #items: readonly T[] = [];
  #runs: Readonly<Record<Family, Runs>> = { 4: new Runs(), 6: new Runs() };
  /** No two spans share addresses: each can be taken out again. */
  #isDisjoint = true;

  constructor(spansOf: (item: T) => readonly Span[]) {
    this.#spansOf = spansOf;
  }

  of(items: readonly T[]): Readonly<Record<Family, Prefix[]>> {
    const { gone, fresh } = changedItems(this.#items, items);
    if (this.#isDisjoint || gone.length === 0) this.#replace(gone, fresh);
    else this.#begin(items);
    this.#items = items;
    return { 4: this.#runs[4].prefixes(4), 6: this.#runs[6].prefixes(6) };
  }

  #begin(items: readonly T[]): void {
    this.#runs = { 4: new Runs(), 6: new Runs() };
    this.#isDisjoint = true;
    this.#replace([], items);
  }

  #replace(gone: readonly T[], fresh: readonly T[]): void {
    for (const item of gone) for (const span of this.#spansOf(item)) this.#runs[span.family].remove(span);
    for (const item of fresh) {
      for (const span of this.#spansOf(item)) {
        if (!this.#runs[span.family].add(span)) this.#isDisjoint = false;
      }
    }
  }
}

/** IPv4 before IPv6, each ascending. */
export function aggregate(spans: readonly Span[]): Prefix[] {
  const prefixes = new Aggregate((span: Span) => [span]).of(spans);
  return families.flatMap((family) => prefixes[family]);
}

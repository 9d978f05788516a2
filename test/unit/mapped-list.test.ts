import { describe, expect, it } from 'vitest';
import { Distinct, FlatList, MappedList } from '../../src/mapped-list.ts';

interface Item {
  readonly n: number;
}

const items = Array.from({ length: 8 }, (_, n): Item => ({ n }));
const [a, b, c, d, e] = items as [Item, Item, Item, Item, Item];

/** Maps lists one after another; answers which items were made anew for the last. */
function remade(...lists: Item[][]): number[] {
  const list = new MappedList<Item, Item>();
  let made: number[] = [];
  for (const next of lists) {
    made = [];
    const results = list.map(next, (item) => {
      made.push(item.n);
      return { n: item.n };
    });
    expect(results).toEqual(next);
    expect(new Set(results).size).toBe(next.length);
  }
  return made;
}

describe('MappedList', () => {
  it.each([
    ['the same list', [a, b, c], [a, b, c], []],
    ['one more at the end', [a, b], [a, b, c], [2]],
    ['one more at the beginning', [b, c], [a, b, c], [0]],
    ['one more in between', [a, c], [a, b, c], [1]],
    ['one fewer', [a, b, c], [a, c], []],
    ['one in the place of another', [a, b, c], [a, d, c], [3]],
    ['others in another order', [a, b, c, d], [d, b, a, c], []],
    ['an item that comes twice, made twice', [a, b, c], [a, b, b, c], [1]],
    ['an item that moves and comes twice', [a, b, c], [a, c, b, b], [1]],
    ['none left', [a, b], [], []],
    ['all new', [a, b], [c, d, e], [2, 3, 4]],
  ])('makes what was not there: %s', (_name, before, after, want) => {
    expect(remade(before, after)).toEqual(want);
  });

  it('maps lists at random as Array.map does, and makes no more than what is new', () => {
    const list = new MappedList<Item, Item>();
    const of = new Map<Item, Item>();
    let before: readonly Item[] = [];
    for (let round = 0; round < 2000; round++) {
      const next = items.filter(() => Math.random() < 0.6).sort(() => (Math.random() < 0.9 ? 0 : 1));
      const results = list.map(next, (item) => {
        expect(before).not.toContain(item);
        return { n: item.n };
      });
      expect(results).toEqual(next);
      for (const [i, item] of next.entries()) if (before.includes(item)) expect(results[i]).toBe(of.get(item));
      of.clear();
      for (const [i, item] of next.entries()) of.set(item, results[i]!);
      before = next;
    }
  });

  it('makes again what does not hold, what was undefined, and all of it after an error', () => {
    const list = new MappedList<Item, number>();
    list.map([a, b], (item) => item.n);
    expect(
      list.map(
        [a, b],
        () => 7,
        (result) => result !== b.n,
      ),
    ).toEqual([a.n, 7]);
    expect(() =>
      list.map([a, b, c], () => {
        throw new Error('no');
      }),
    ).toThrow('no');
    expect(list.map([a, b], () => 9)).toEqual([a.n, 7]);
    const some = new MappedList<Item, number | undefined>();
    some.map([a], () => undefined);
    expect(some.map([a], () => 3)).toEqual([3]);
  });
});

/** Lists at random, one after the other, that have much in common; some items come twice. */
function* walk(steps: number): Generator<Item[]> {
  let list: Item[] = [];
  for (let i = 0; i < steps; i++) {
    list = list.filter(() => Math.random() < 0.8);
    for (let n = Math.floor(Math.random() * 4); n > 0; n--) {
      list.splice(Math.floor(Math.random() * (list.length + 1)), 0, items[Math.floor(Math.random() * items.length)]!);
    }
    yield [...list];
  }
}

describe('FlatList', () => {
  it('answers what Array.flatMap does, and asks for what is new alone', () => {
    let asked = 0;
    const several = ({ n }: Item): number[] => Array.from({ length: n % 3 }, (_, i) => 10 * n + i);
    const list = new FlatList((item: Item) => {
      asked++;
      return several(item);
    });
    for (const next of walk(2000)) expect(list.of(next)).toEqual(next.flatMap(several));
    list.of([a, b, c, d]);
    asked = 0;
    expect(list.of([a, b, e, c, d])).toEqual([a, b, e, c, d].flatMap(several));
    expect(asked).toBe(1);
  });
});

describe('Distinct', () => {
  it('answers what the items have, each once', () => {
    const list = new Distinct(({ n }: Item) => n % 3);
    for (const next of walk(2000)) expect(new Set(list.of(next))).toEqual(new Set(next.map(({ n }) => n % 3)));
    expect(list.of([])).toEqual([]);
  });
});

import { describe, expect, it } from 'vitest';
import { findingsOf } from '../../src/agent/findings.ts';
import { againMs, EventBook, paceMs, refreshMs, settleMs } from '../../src/cluster/kubernetes/event-book.ts';
import { Dice } from '../support/dice.ts';

const standing = (...reasons: string[]): Map<string, string> => new Map(reasons.map((r) => [r, `what is ${r}`]));

/** Writes what is due, every 500 ms as the agent looks; answers when what was written. */
function live(book: EventBook, fromMs: number, toMs: number, nodes: number, isTaken = true): [number, string][] {
  const written: [number, string][] = [];
  for (let ms = fromMs; ms < toMs; ms += 500) {
    const due = book.next(ms);
    if (!due) continue;
    written.push([ms, due.reason]);
    if (isTaken) book.wrote(due, nodes, ms);
    else book.failed(nodes, ms);
  }
  return written;
}

const book = (): EventBook => new EventBook(() => 0.5);

describe('EventBook', () => {
  it('tells what stands for a while, once, and again before the API server forgets it', () => {
    const b = book();
    b.stand(standing('A'), 3, 0);
    expect(live(b, 0, refreshMs + 20_000, 3)).toEqual([
      [settleMs + 500, 'A'],
      [settleMs + 500 + refreshMs, 'A'],
    ]);
  });

  it('says nothing of what is soon over', () => {
    const b = book();
    b.stand(standing('A'), 3, 0);
    b.stand(standing(), 3, settleMs - 1000);
    expect(live(b, 0, 100_000, 3)).toEqual([]);
  });

  it('tells what stands again or says something else, five minutes later at the soonest', () => {
    const b = book();
    b.stand(standing('A'), 3, 0);
    const [first] = live(b, 0, 10_000, 3);
    b.stand(standing(), 3, 20_000);
    b.stand(standing('A'), 3, 30_000);
    expect(live(b, 30_000, 600_000, 3)).toEqual([[first![0] + againMs, 'A']]);
    b.stand(new Map([['A', 'something else']]), 3, 700_000);
    expect(b.next(700_000)).toEqual({ reason: 'A', message: 'something else' });
  });

  it('keeps to its bounds however wild the problems are', () => {
    const dice = new Dice(1);
    const b = new EventBook(dice.chance);
    const reasons = ['A', 'B', 'C', 'D', 'E', 'F', 'G'];
    const nodes = 5000;
    const hours = 3;
    const written: [number, string][] = [];
    const stands = new Map<string, boolean>();
    for (let ms = 0; ms < hours * 3_600_000; ms += 1000) {
      // each comes and goes every minute or two, and says something else every second
      for (const r of reasons) if (dice.chance() < 0.01) stands.set(r, !stands.get(r));
      b.stand(new Map(reasons.filter((r) => stands.get(r)).map((r) => [r, `${r} ${ms}`])), nodes, ms);
      written.push(...live(b, ms, ms + 1000, nodes));
    }
    expect(written.length).toBeGreaterThan(50);
    for (const reason of reasons) {
      const times = written.filter(([, r]) => r === reason).map(([ms]) => ms);
      for (const [i, ms] of times.entries()) if (i > 0) expect(ms - times[i - 1]!).toBeGreaterThanOrEqual(againMs);
    }
    for (const [i, [ms]] of written.entries()) {
      if (i > 0) expect(ms - written[i - 1]![0]).toBeGreaterThanOrEqual(paceMs(nodes) / 2);
    }
    expect(written.length).toBeLessThanOrEqual((hours * 3_600_000) / paceMs(nodes) + 1);
  });

  it('spreads what all nodes of a large cluster see at once', () => {
    const nodes = 5000;
    const dice = new Dice(2);
    const times = Array.from({ length: nodes }, () => {
      const b = new EventBook(dice.chance);
      b.stand(standing('A'), nodes, 0);
      return live(b, 0, 200_000, nodes)[0]![0];
    });
    const perSecond = Map.groupBy(times, (ms) => Math.floor(ms / 1000));
    expect(Math.max(...[...perSecond.values()].map((t) => t.length))).toBeLessThan(150);
  });

  it('asks a server that refuses ever more seldom, and remembers one problem of a reason', () => {
    const b = book();
    b.stand(standing('A', 'B'), 3, 0);
    const tries = live(b, 0, 3_600_000, 3, false).map(([ms]) => ms);
    expect(tries.length).toBeLessThan(20);
    expect(tries.at(-1)! - tries.at(-2)!).toBe(600_000);
    b.stand(standing('B'), 3, 3_600_000);
    expect(live(b, 3_600_000, 4_800_000, 3)).toHaveLength(1);
  });
});

describe('findingsOf()', () => {
  it('joins what has one reason, leaves out what has none, and counts what is too much', () => {
    expect(
      findingsOf([
        ['NotReady', ['a']],
        [undefined, ['of another node']],
        ['ForwardDropped', []],
        ['HostNotAsPlanned', ['b', 'c']],
        ['HostNotAsPlanned', ['d', 'e', 'f']],
      ]),
    ).toEqual(
      new Map([
        ['NotReady', 'a'],
        ['HostNotAsPlanned', 'b; c; d; and 2 more'],
      ]),
    );
  });
});

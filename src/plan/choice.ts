/**
 * Which of several ways carries: the first in the order of preference that passes, by what was heard so far. Ways that come and go
 * are not followed at once: one falls after `missesToFall` questions without an answer in a row, and what has fallen is believed
 * again after `passesToReturn` answers in a row, twice as many with each further fall, until it has held for `calm` questions.
 */

import type { WayMode } from './cluster.ts';

/** What gets through: packets as long as pods' may be, only small ones, none. From worse to better. */
export const passings = ['none', 'small', 'full'] as const;
export type Passing = (typeof passings)[number];

export const missesToFall = 3;
export const passesToReturn = 10;
export const mostPassesToReturn = 320;
export const calm = 600;

/** What is known of a way. */
export interface WayRecord {
  /** As it is believed; undefined: not known yet. */
  readonly passing: Passing | undefined;
  /** Answers in a row that were worse, better, and no worse than what is believed. */
  readonly worse: number;
  readonly better: number;
  readonly held: number;
  /** Better answers in a row that are asked for before they are believed. */
  readonly needed: number;
}

export const unheard: WayRecord = { passing: undefined, worse: 0, better: 0, held: 0, needed: passesToReturn / 2 };

const rank = (passing: Passing): number => passings.indexOf(passing);

/** What is known after one more answer. */
export function hear(record: WayRecord, heard: Passing): WayRecord {
  const { passing, needed } = record;
  if (passing === undefined && heard !== 'none') return { ...unheard, passing: heard };
  if (rank(heard) < rank(passing ?? 'full')) {
    const worse = record.worse + 1;
    if (worse < missesToFall) return { ...record, worse, better: 0, held: 0 };
    return { ...unheard, passing: heard, needed: Math.min(needed * 2, mostPassesToReturn) };
  }
  const held = record.held + 1;
  const calmed = held >= calm ? unheard.needed : needed;
  if (heard === passing) return { ...record, worse: 0, better: 0, held, needed: calmed };
  const better = record.better + 1;
  if (better < needed) return { ...record, worse: 0, better, held };
  return { ...unheard, passing: heard, needed };
}

/** What is believed of each way, in the order of preference. */
export type Heard = readonly { readonly way: WayMode; readonly passing: Passing | undefined }[];

export interface Choice {
  readonly way: WayMode;
  /** For people: why this one. */
  readonly why: string;
}

const verdicts: Readonly<Record<Passing, string>> = {
  none: 'does not pass',
  small: 'lets only small packets through',
  full: 'passes',
};

const describe = ({ way, passing }: Heard[number]): string =>
  `${way} ${passing ? verdicts[passing] : 'has not been heard of'}`;

/** The way that is to carry; the present one stays where nothing speaks for another. */
export function choose(present: WayMode, heard: Heard): Choice {
  const best = Math.max(...heard.map(({ passing }) => rank(passing ?? 'none')));
  if (best === rank('none')) {
    const known = heard.some(({ passing }) => passing !== undefined);
    return { way: present, why: known ? `nothing passes: ${present} stays` : 'nothing is known yet' };
  }
  const chosen = heard.find(({ passing }) => passing !== undefined && rank(passing) === best)!;
  const before = heard.slice(0, heard.indexOf(chosen)).map(describe);
  if (chosen.passing === 'small') before.push('nothing lets packets of full size through');
  return { way: chosen.way, why: before.length > 0 ? before.join(', ') : 'the first, and it passes' };
}

/**
 * That the first choice does not lead to more than half of the nodes, and what does in its place, in words: this node's own trouble
 * then, and not that of a single other.
 */
export function fallbackOf(choices: readonly { readonly first: WayMode; readonly way: WayMode }[]): string[] {
  const fallen = choices.filter((c) => c.way !== c.first);
  if (fallen.length * 2 <= choices.length) return [];
  const groups = Map.groupBy(fallen, (c) => `${c.way} in place of ${c.first}`);
  const said = [...groups].map(([what, of]) => `${what} to ${of.length}`).join(', ');
  return [`mode auto falls back: ${said} of ${choices.length} nodes; "culvert probe" on the node says why`];
}

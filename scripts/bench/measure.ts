/** Figures: what is measured alternates between those compared, so that a busy minute of the machine falls on all of them. */

import { setImmediate as breath } from 'node:timers/promises';

export type Unit = 'ms' | 'MiB' | 'count' | 'Gbit/s';

/** What one subject took, over all rounds. */
export interface Figures {
  readonly label: string;
  readonly n: number;
  readonly median: number;
  readonly p10: number;
  readonly p90: number;
}

/** A limit: so many times another subject's median, or so much in the row's unit. */
export type Target = ({ readonly atMost: number } | { readonly atLeast: number }) & { readonly over?: string };

export interface Row {
  readonly work: string;
  readonly unit: Unit;
  /** The first is what is judged. */
  readonly figures: readonly Figures[];
  readonly target?: Target | undefined;
}

/** By linear interpolation between the two nearest; NaN of nothing. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  return low + ((sorted[Math.ceil(at)] ?? low) - low) * (at - Math.floor(at));
}

export const figuresOf = (label: string, values: readonly number[]): Figures => ({
  label,
  n: values.length,
  median: quantile(values, 0.5),
  p10: quantile(values, 0.1),
  p90: quantile(values, 0.9),
});

export interface Subject {
  readonly label: string;
  /** Does it once and answers what it took. Rounds of the warm-up are below 0. */
  run(round: number): number | Promise<number>;
}

export interface Rounds {
  readonly warmUp: number;
  readonly rounds: number;
}

/** A B A B …, the rounds of the warm-up left out of the figures. */
export async function alternate(subjects: readonly Subject[], { warmUp, rounds }: Rounds): Promise<Figures[]> {
  const values = new Map(subjects.map((s) => [s.label, [] as number[]]));
  for (let round = -warmUp; round < rounds; round++) {
    for (const { label, run } of subjects) {
      const value = await run(round);
      if (round >= 0) values.get(label)!.push(value);
      await breath(); // signals are heard here
    }
  }
  return [...values].map(([label, list]) => figuresOf(label, list));
}

/** How many times another subject's median the first one's is. */
export const ratioTo = (row: Row, other: Figures): number => row.figures[0]!.median / other.median;

/** Whether the target is met; undefined where there is none, or nothing to compare with. */
export function isMet({ figures, target }: Row): boolean | undefined {
  if (!target) return undefined;
  const unit = target.over === undefined ? 1 : figures.find((f) => f.label === target.over)?.median;
  if (unit === undefined) return undefined;
  const { median } = figures[0]!;
  return 'atMost' in target ? median <= target.atMost * unit : median >= target.atLeast * unit;
}

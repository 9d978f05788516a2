/** What a section of the benchmark gets and what it answers. */

import type { Rounds, Row } from './measure.ts';
import type { Pods, Suite } from './suite.ts';

export interface Bench {
  /** Ours. */
  readonly culvert: Suite;
  /** Ours first, then the references. */
  readonly suites: readonly Suite[];
  /** The reference that targets speak of; undefined where there is none on this machine. */
  readonly reference: Suite | undefined;
  /** A folder for files, removed at the end. */
  readonly dir: string;
  readonly pods: Pods;
  /** Runs chains of plugins in place of the benchmark itself. */
  readonly cnitool: string | undefined;
  /** Of nodes in a cluster, this many alone. */
  readonly nodes: number | undefined;
  /** Few rounds and small sizes. */
  readonly quick: boolean;
  readonly rounds: Rounds;
}

export interface Section {
  readonly name: string;
  readonly title: string;
  run(bench: Bench): Promise<Row[]>;
}

/** A limit in times of the reference's median. */
export const timesReference = (bench: Bench, atMost: number) =>
  bench.reference && { atMost, over: bench.reference.label };

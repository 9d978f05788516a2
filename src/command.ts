/** What a command of the `culvert` command line is, and what its exit codes mean. */

import type { Machine } from './kernel/machine.ts';

export const exitCode = { fine: 0, problems: 1, usage: 2, couldNotLook: 3 } as const;

/** Wrong options or arguments; the message says which and what was expected. */
export class UsageError extends Error {}

/** An option's number; throws UsageError. */
export function wholeNumber(option: string, text: string, max: number): number {
  const number = Number(text);
  if (/^\d+$/.test(text) && number >= 1 && number <= max) return number;
  throw new UsageError(`${option}: got "${text}", want a whole number from 1 to ${max}`);
}

export interface Command {
  readonly name: string;
  /** One line for the overview. */
  readonly summary: string;
  /** The whole help text, as `culvert NAME --help` prints it. */
  readonly help: string;
  /** Runs with the arguments after the command's name; answers the exit code. UsageError becomes exit code 2. */
  run(args: string[], machine: Machine): Promise<number>;
}

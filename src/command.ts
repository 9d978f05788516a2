/** What a command of the `culvert` command line is, and what its exit codes mean. */

import type { Machine } from './kernel/machine.ts';

export const exitCode = { fine: 0, problems: 1, usage: 2, couldNotLook: 3 } as const;

/** Wrong options or arguments; the message says which and what was expected. */
export class UsageError extends Error {}

export interface Command {
  readonly name: string;
  /** One line for the overview. */
  readonly summary: string;
  /** The whole help text, as `culvert NAME --help` prints it. */
  readonly help: string;
  /** Runs with the arguments after the command's name; answers the exit code. UsageError becomes exit code 2. */
  run(args: string[], machine: Machine): Promise<number>;
}

/**
 * The error classes of the project, nothing else. Each is closed and carries data, so that callers ask questions
 * instead of matching text; `cni/error.ts` is the only place that turns them into CNI codes.
 */

/** One wrong field: where it is, what stands there, what was expected. */
export interface Problem {
  /** Path of the field in the document, such as `ipam.ranges[0][1].subnet`. */
  path: string;
  /** The value found, as JSON, shortened. */
  got: string;
  /** What would have been right, in words. */
  want: string;
}

/** A configuration that is wrong in one or more fields; all of them are listed. */
export class ConfigError extends Error {
  readonly problems: Problem[];

  constructor(problems: Problem[]) {
    super(problems.map((p) => `${p.path}: got ${p.got}, want ${p.want}`).join('; '));
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

export type CommandReason = 'not-found' | 'exists' | 'busy' | 'denied' | 'unsupported' | 'no-program' | 'other';

/** A program that was run and failed, or could not be started. */
export class CommandError extends Error {
  readonly argv: readonly string[];
  readonly exitCode: number | undefined;
  readonly stderr: string;
  readonly reason: CommandReason;
  /** The line of a batch on standard input that failed, from 1, where the program named it. */
  readonly line: number | undefined;

  constructor(argv: readonly string[], exitCode: number | undefined, stderr: string, reason: CommandReason) {
    super(`command failed with ${exitCode ?? 'no exit code'}: ${argv.join(' ')}: ${stderr.trim() || reason}`);
    this.name = 'CommandError';
    this.argv = argv;
    this.exitCode = exitCode;
    this.stderr = stderr;
    this.reason = reason;
    const line = /Command failed -:(\d+)/.exec(stderr)?.[1];
    this.line = line === undefined ? undefined : Number(line);
  }
}

export type StoreReason = 'exhausted' | 'taken' | 'duplicate' | 'outside' | 'locked' | 'io';

/** A lease or record that cannot be had. */
export class StoreError extends Error {
  readonly reason: StoreReason;

  constructor(reason: StoreReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StoreError';
    this.reason = reason;
  }
}

/** An error as the CNI specification spells it (section 5, "Error"); `details` is the longer text. */
export class CniError extends Error {
  readonly code: number;
  readonly details: string;

  constructor(code: number, message: string, details = '', options?: ErrorOptions) {
    super(message, options);
    this.name = 'CniError';
    this.code = code;
    this.details = details;
  }
}

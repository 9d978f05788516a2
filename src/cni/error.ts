/** CNI error codes (spec section 5, "Error"; 100 and above are ours) and the only place that picks one. */

import { CniError, CommandError, ConfigError, type Problem, StoreError, type StoreReason } from '../errors.ts';

export const code = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  /** CHECK only: to ADD's caller it would say that no DEL is needed. */
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  decoding: 6,
  invalidConfig: 7,
  /** CNI_NETNS is the namespace the plugin itself runs in; not in the spec's table, but libcni's number for it. */
  invalidNetns: 8,
  tryAgainLater: 11,
  notAvailable: 50,
  limitedConnectivity: 51,
  command: 100,
  exhausted: 101,
  taken: 102,
  drift: 103,
  unsupported: 104,
  internal: 999,
} as const;

const storeCodes: Record<StoreReason, number> = {
  exhausted: code.exhausted,
  taken: code.taken,
  duplicate: code.taken,
  outside: code.invalidConfig,
  locked: code.tryAgainLater,
  io: code.io,
};

function fromCommand(error: CommandError): CniError {
  const program = error.argv.join(' ');
  const options = { cause: error };
  switch (error.reason) {
    case 'unsupported':
      return new CniError(
        code.unsupported,
        'the kernel lacks a feature this configuration needs',
        `${program}: ${error.stderr.trim()}`,
        options,
      );
    case 'busy':
      return new CniError(
        code.tryAgainLater,
        'the kernel is busy with the same object',
        `${program}: ${error.stderr.trim()}`,
        options,
      );
    case 'no-program':
      return new CniError(code.command, `cannot run "${error.argv[0]}": install it`, program, options);
    default:
      return new CniError(code.command, `command failed: ${error.stderr.trim() || error.reason}`, program, options);
  }
}

/** Any error as a CNI error. What is none of our classes is a bug: 999. */
export function toCniError(error: unknown): CniError {
  if (error instanceof CniError) return error;
  if (error instanceof ConfigError) {
    return new CniError(code.invalidConfig, `invalid configuration: ${error.message}`, JSON.stringify(error.problems), {
      cause: error,
    });
  }
  if (error instanceof StoreError) return new CniError(storeCodes[error.reason], error.message, '', { cause: error });
  if (error instanceof CommandError) return fromCommand(error);
  if (error instanceof AggregateError && error.errors.length > 0) {
    return new CniError(toCniError(error.errors[0]).code, error.message, '', { cause: error });
  }
  const message = error instanceof Error ? error.message : String(error);
  return new CniError(code.internal, `internal error: ${message}`, '', { cause: error });
}

/** CHECK's answer to a difference: every one in the message for people, and as a JSON list in `details` for programs. */
export function driftError(problems: readonly Problem[]): CniError {
  const text = problems.map((p) => `${p.path}: got ${p.got}, want ${p.want}`).join('; ');
  return new CniError(code.drift, `the attachment is not as ADD made it: ${text}`, JSON.stringify(problems));
}

/** A key that asks for what cannot be had (code 2): the problem is in the message, what to do about it in `details`. */
export function unsupportedField({ path, got, want }: Problem): CniError {
  const cause = new ConfigError([{ path, got, want }]);
  return new CniError(code.unsupportedField, `unsupported field ${path}: got ${got}`, want, { cause });
}

/** The document that goes to standard output. */
export function encodeError(error: CniError, cniVersion: string): Record<string, unknown> {
  return { cniVersion, code: error.code, msg: error.message, ...(error.details ? { details: error.details } : {}) };
}

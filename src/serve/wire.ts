/** What is said between `culvert serve` and the program that a runtime executes. Its other end, and the words, are in shim.c. */

import type { Environment } from '../cni/env.ts';

export interface Execution {
  /** What the plugin was called by. */
  readonly name: string;
  readonly env: Environment;
  /** Standard input. */
  readonly input: string;
}

export interface Answer {
  readonly exitCode: number;
  readonly stderr: string;
  readonly stdout: string;
}

/** Nobody's environment and network configuration are longer, in bytes. */
export const longest = 256 * 1024 * 1024;

/** No head of an execution is longer than its two numbers. */
const longestHead = 64;

export const formatGreeting = (build: string): string => `culvert ${build}\n`;

/** The execution that the bytes are; undefined while some are missing. Throws when they can be none. */
export function parseExecution(bytes: Buffer): Execution | undefined {
  const end = bytes.subarray(0, longestHead).indexOf('\n');
  if (end < 0 && bytes.length < longestHead) return undefined;
  const [, names = '', input = ''] = /^(\d{1,9}) (\d{1,9})$/.exec(bytes.toString('latin1', 0, Math.max(end, 0))) ?? [];
  const start = end + 1 + Number(names);
  const length = start + Number(input);
  if (names === '' || length > longest || bytes.length > length) throw new Error('no execution of a plugin');
  if (bytes.length < length) return undefined;
  const [name = '', ...variables] = bytes
    .toString('utf8', end + 1, start)
    .split('\0')
    .slice(0, -1);
  const env = Object.fromEntries(variables.map((v) => [v.split('=', 1)[0]!, v.slice(v.indexOf('=') + 1)]));
  return { name, env, input: bytes.toString('utf8', start, length) };
}

export const formatAnswer = ({ exitCode, stderr, stdout }: Answer): string =>
  `${exitCode} ${Buffer.byteLength(stderr)} ${Buffer.byteLength(stdout)}\n${stderr}${stdout}`;

/** The program has to do it itself. */
export const decline = 'decline\n';

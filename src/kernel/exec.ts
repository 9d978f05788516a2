/**
 * Running programs, the only place where kernel tools start. On `node:child_process` directly: a fresh plugin process pays
 * 3 ms per start here against 7 to 9 ms through a process library, and a pod waits for it.
 */

import { spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { CommandError, type CommandReason } from '../errors.ts';
import { isOurs } from './own.ts';

export interface ExecOptions {
  /** Text for the program's standard input. */
  stdin?: string;
  /** Path of the network namespace to run it in; none: our own. */
  netns?: string | undefined;
  timeoutMs?: number;
  /** Standard output that says that the work is done: the answer comes then, and the program ends when it likes. */
  doneWhen?: RegExp;
  /** Beside our own environment. */
  env?: Readonly<Record<string, string>>;
}

export type Exec = (argv: readonly string[], options?: ExecOptions) => Promise<string>;

/** Starts programs for us. */
export const shell = '/bin/sh';

const defaultDirs = ['/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/local/sbin', '/usr/local/bin'];

/** With our folder on PATH, `bridge` is our plugin and not iproute2's. */
function isProgram(file: string): boolean {
  const found = statSync(file, { throwIfNoEntry: false });
  return found !== undefined && !isOurs(found);
}

/**
 * The program's file: where Linux keeps its tools, else in PATH. In this order, since a runtime may have a folder of CNI plugins on
 * PATH, in which `bridge` is any suite's plugin, or pass no PATH at all. Not remembered: the start-up snapshot would carry the
 * places of the machine that it was built on to all others.
 */
export function programFile(name: string): string {
  if (name.includes('/')) return name;
  const dirs = [...defaultDirs, ...(process.env['PATH'] ?? '').split(':').filter((d) => d.startsWith('/'))];
  return dirs.map((dir) => join(dir, name)).find(isProgram) ?? name;
}

const reasons: [RegExp, CommandReason][] = [
  [
    /Cannot find device|No such (?:file|device|process)|does not exist|not found|Cannot assign requested address|Cannot find|handle of zero|Invalid handle/i,
    'not-found',
  ],
  [/File exists|already exists|Address already assigned/i, 'exists'],
  [/resource busy|Resource temporarily unavailable|temporarily/i, 'busy'],
  [/Operation not permitted|Permission denied/i, 'denied'],
  [/not supported|Unknown device type|Protocol not available/i, 'unsupported'],
];

/** The one classifier of what programs say when they fail (they run with LC_ALL=C). */
export const classify = (stderr: string): CommandReason => reasons.find(([text]) => text.test(stderr))?.[1] ?? 'other';

/**
 * A runner of programs; `onCommand` hears every command line before it starts. Standard output is answered; any exit code
 * but 0 throws CommandError.
 */
export function createExec(onCommand: (line: string) => void = () => {}): Exec {
  return (argv, options = {}) => {
    const inner = [programFile(argv[0]!), ...argv.slice(1)];
    const full = options.netns ? [programFile('nsenter'), `--net=${options.netns}`, '--', ...inner] : inner;
    onCommand(options.stdin ? `${full.join(' ')} <<\n${options.stdin}` : full.join(' '));
    return start(full, options);
  };
}

/** iproute2 names a batch's failed line by its number only: the line itself tells which link or route it was. */
const withFailedLine = (stderr: string, stdin = ''): string =>
  stderr.replace(
    /^Command failed -:(\d+)$/m,
    (text, n: string) => `${text}: ${stdin.split('\n')[Number(n) - 1] ?? ''}`,
  );

/** The error of a program that failed and what it said; `batch` is the input whose lines it counts. */
export function failure(
  argv: readonly string[],
  exitCode: number | undefined,
  said: string,
  batch?: string,
): CommandError {
  const stderr = withFailedLine(said, batch);
  return new CommandError(argv, exitCode, stderr, classify(stderr));
}

/** Debian's package of each tool. */
const packages: Readonly<Record<string, string>> = {
  bird: 'bird2',
  bridge: 'iproute2',
  conntrack: 'conntrack',
  ethtool: 'ethtool',
  ip: 'iproute2',
  nft: 'nftables',
  nsenter: 'util-linux',
  ping: 'iputils-ping',
  sh: 'dash',
  wg: 'wireguard-tools',
};

export function notInstalled(file: string): string {
  const name = basename(file);
  return `the program ${name} is not installed${packages[name] ? `; install ${packages[name]}` : ''}`;
}

function start(argv: readonly string[], options: ExecOptions): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const stdio = [options.stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] as const;
  const child = spawn(argv[0]!, argv.slice(1), {
    stdio: [...stdio],
    env: { ...process.env, LC_ALL: 'C', ...options.env },
    ...(options.timeoutMs ? { timeout: options.timeoutMs, killSignal: 'SIGKILL' as const } : {}),
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout!.on('data', (chunk: Buffer) => {
    out.push(chunk);
    // what it complained of before that is read in the same turn
    if (options.doneWhen?.test(Buffer.concat(out).toString())) setImmediate(() => settle(err.length === 0 ? 0 : 1));
  });
  child.stderr!.on('data', (chunk: Buffer) => err.push(chunk));
  child.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') reject(new CommandError(argv, undefined, error.message, 'other'));
    else reject(new CommandError(argv, undefined, notInstalled(argv[0]!), 'no-program'));
  });
  function settle(exitCode: number | null, signal?: NodeJS.Signals | null): void {
    if (exitCode === 0) {
      resolve(Buffer.concat(out).toString());
      return;
    }
    const said = Buffer.concat(err).toString() || (signal ? `killed by ${signal}` : Buffer.concat(out).toString());
    reject(failure(argv, exitCode ?? undefined, said, options.stdin));
  }
  // one that ends without having said that it is done has not done it
  child.on('close', (exitCode, signal) => settle(exitCode === 0 && options.doneWhen ? 1 : exitCode, signal));
  child.stdin?.on('error', () => {}); // it ended without reading everything; its exit code tells
  child.stdin?.end(options.stdin);
  return promise;
}

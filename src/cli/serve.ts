/** `culvert serve`: the plugins in a process that stays, for the container runtimes of this host. */

import { existsSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { plugins } from '../../plugins/plugins.ts';
import { readMark } from '../agent/install/mark.ts';
import { type Command, exitCode, UsageError, wholeNumber } from '../command.ts';
import type { Machine } from '../kernel/machine.ts';
import { Serve, socketPath, wantedFile } from '../serve/serve.ts';

const options = { width: { type: 'string' }, 'while-wanted': { type: 'boolean', default: false } } as const;

/** Each mostly waits for the kernel or a program. */
const defaultWidth = Math.max(4, 2 * availableParallelism());

const everyMs = 1000;

const inodeOf = (file: string): number | undefined => statSync(file, { throwIfNoEntry: false })?.ino;

async function run(args: string[], machine: Machine): Promise<number> {
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true });
  if (positionals.length > 0) throw new UsageError(`unexpected argument "${positionals[0]}"`);
  const width = values.width === undefined ? defaultWidth : wholeNumber('--width', values.width, 1000);
  const mark = readMark('/proc/self/exe');
  if (!mark) throw new Error('this is not the built executable, which alone knows its build: run dist/bin/culvert');
  const own = inodeOf('/proc/self/exe');
  const path = socketPath();
  const failed = (error: unknown): void => machine.warn(`serve: ${(error as Error).stack ?? String(error)}`);
  const serve = new Serve({ plugins, build: mark.build, width, path, failed });
  await serve.listen();
  machine.warn(`serve: plugins of build ${mark.build} at ${path}`);
  const { promise, resolve } = Promise.withResolvers<string>();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal));
  const look = setInterval(() => {
    // whoever executes the new build gets no answer from the old one
    if (inodeOf(process.execPath) !== own) resolve(`${process.execPath} is another build by now, or gone`);
    else if (!existsSync(path)) resolve('its socket is gone');
    else if (values['while-wanted'] && !existsSync(wantedFile)) resolve('the agent wants it no longer');
  }, everyMs);
  machine.warn(`serve: ending: ${await promise}`);
  clearInterval(look);
  await serve.close();
  return exitCode.fine;
}

export const serveCommand: Command = {
  name: 'serve',
  summary: 'keep the plugins in a process, so that no pod waits for one to start',
  help: `usage: culvert serve [--width N] [--while-wanted]

Executes plugins for the container runtimes of this host: the executable that a runtime starts for a pod asks this process, which is
there already, and is spared the start of Node. Nothing needs it: while it does not run, is busy, hangs, or is another build,
the plugins do their work themselves. It answers root alone, and only what runs in its own network, mount and process
namespaces. Ends by itself when its file is replaced, to be started again as the new build: conf/culvert-serve.service does that.
With serve: true in the agent's configuration the first pod starts it, and no service is needed.

  --width N        execute so many at a time (default ${defaultWidth}: twice the processors, at least 4)
  --while-wanted   until ${wantedFile} goes, which an agent with serve: true leaves there

Exit codes: 0 it was ended, 2 wrong usage, 3 another one answers here already.`,
  run,
};

/** What a program of ours works on: the kernel, its own executable, and a place for remarks. */

import { writeSync } from 'node:fs';
import { createExec, type Exec } from './exec.ts';
import { createKernel, type Kernel } from './kernel.ts';
import { mainFile } from './own.ts';
import { standBy } from './standby.ts';

export interface Machine {
  readonly exec: Exec;
  readonly kernel: Kernel;
  /** The file that plugins are links to; one found on CNI_PATH with the same inode is ourselves. */
  readonly executable: string;
  /** One line for people, on standard error. */
  warn(text: string): void;
  /** Standard error, for what another program says there. */
  stderr(text: string): void;
}

/**
 * The machine this process runs on. CULVERT_LOG=debug in `env` prints every command line that is run. `stderr` takes what is said to
 * people.
 */
export function createMachine(
  env: Readonly<Record<string, string | undefined>> = process.env,
  stderr: (text: string) => void = (text) => void writeSync(2, text),
): Machine {
  const warn = (text: string) => stderr(`culvert: ${text.trimEnd()}\n`);
  const onCommand = env['CULVERT_LOG'] === 'debug' ? warn : () => {};
  const exec = createExec(onCommand);
  const kernel = createKernel(exec, (names, netns) => standBy(names, netns, onCommand));
  return { exec, kernel, executable: mainFile(), warn, stderr };
}

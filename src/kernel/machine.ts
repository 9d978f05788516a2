/** What a program of ours works on: the kernel, its own executable, and a place for remarks. */

import { writeSync } from 'node:fs';
import { createExec, type Exec } from './exec.ts';
import { createKernel, type Kernel } from './kernel.ts';
import { standBy } from './standby.ts';

export interface Machine {
  readonly exec: Exec;
  readonly kernel: Kernel;
  /** The file this process runs from; a plugin found on CNI_PATH with the same inode is ourselves. */
  readonly executable: string;
  /** One line for people, on standard error. */
  warn(text: string): void;
}

/** The machine this process runs on. CULVERT_LOG=debug prints every command line that is run. */
export function createMachine(): Machine {
  const warn = (text: string) => void writeSync(2, `culvert: ${text.trimEnd()}\n`);
  const onCommand = process.env['CULVERT_LOG'] === 'debug' ? warn : () => {};
  const exec = createExec(onCommand);
  const kernel = createKernel(exec, (names, netns) => standBy(names, netns, onCommand));
  return { exec, kernel, executable: process.execPath, warn };
}

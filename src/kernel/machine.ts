/** What a program of ours works on: the kernel, its own executable, and a place for remarks. */

import type { Exec } from './exec.ts';
import type { Kernel } from './kernel.ts';

export interface Machine {
  readonly exec: Exec;
  readonly kernel: Kernel;
  /** The file this process runs from; a plugin found on CNI_PATH with the same inode is ourselves. */
  readonly executable: string;
  /** One line for people, on standard error. */
  warn(text: string): void;
}

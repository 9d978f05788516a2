/** Tells of whatever happens in a folder. One that is not there, or is another one by now, is looked for again. */

import { type FSWatcher, statSync, watch } from 'node:fs';
import { pause, type Task } from './task.ts';

const lookMs = 2000;

const inodeOf = (folder: string): number | undefined => statSync(folder, { throwIfNoEntry: false })?.ino;

export class FolderWatch implements Task {
  readonly name = 'folder-watch';
  readonly #folder: string;
  readonly #changed: () => void;

  constructor(folder: string, changed: () => void) {
    this.#folder = folder;
    this.#changed = changed;
  }

  notReady(): undefined {
    return undefined;
  }

  async run(signal: AbortSignal): Promise<void> {
    let watcher: FSWatcher | undefined;
    let watched: number | undefined;
    for (let isFirst = true; !signal.aborted; isFirst = false) {
      const inode = inodeOf(this.#folder);
      if (inode !== watched) {
        watcher?.close();
        watcher = inode === undefined ? undefined : this.#watch();
        watched = inode;
        if (!isFirst) this.#changed(); // what happened until now went unseen
      }
      await pause(lookMs, signal);
    }
    watcher?.close();
  }

  /** Undefined when it went meanwhile, or the kernel has no more watches to give: then time tells. */
  #watch(): FSWatcher | undefined {
    try {
      return watch(this.#folder, this.#changed).on('error', () => {});
    } catch {
      return undefined;
    }
  }
}

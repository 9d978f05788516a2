/** What an ADD has done so far and how to take it back: last done, first undone, unless it is committed. */

import type { Machine } from '../kernel/machine.ts';

/** Used with `await using`: leaving the block without `commit()` undoes. A step that cannot be undone is told, not thrown. */
export class UndoStack implements AsyncDisposable {
  readonly #machine: Machine;
  #steps: (() => Promise<unknown>)[] = [];

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  push(step: () => Promise<unknown>): void {
    this.#steps.push(step);
  }

  commit(): void {
    this.#steps = [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const step of this.#steps.reverse()) {
      await step().catch((error: Error) => this.#machine.warn(`cannot undo: ${error.message}`));
    }
  }
}

/**
 * The agent's care of the plugins' executables: installs its own before the runtime hears of the network, and again when a
 * package's upgrade or a person deletes one. At its start the agent's build takes the place of another build of ours, so that an
 * upgrade (or the way back) is a restart; afterwards another build is somebody's upgrade, and stays until the agent is restarted.
 */

import type { Log } from '../log.ts';
import { pause, type Task } from '../task.ts';
import { Wake } from '../wake.ts';
import { apply, describe, type InstallPlan, type Kept, look, mainName, plan } from './executables.ts';
import { type Mark, readMark } from './mark.ts';

/** Also when this process runs from a file that was deleted or replaced. */
export const ownExecutable = '/proc/self/exe';

/** This process's own mark. Throws when it is not the single executable. */
export function ownMark(source = ownExecutable): Mark {
  const mark = readMark(source);
  if (mark) return mark;
  throw new Error(`${source} bears no mark of the build, so there is nothing to install: run dist/bin/culvert`);
}

export interface InstallerParts {
  readonly folder: string;
  /** All plugins. */
  readonly names: readonly string[];
  /** Take the place of other programs' files too. */
  readonly replace: boolean;
  readonly everySeconds: number;
  readonly log: Log;
  /** Called when there is something to do or to say. */
  readonly changed: () => void;
  /** The executable to copy, when it is not this process's own. */
  readonly source?: string;
}

/** Somebody who deletes what we install over and over does not keep us busy with that alone. */
const pauseMs = 1000;

function inWords(folder: string, { name, why, mark }: Kept): string {
  const file = `${folder}/${name}`;
  if (why === 'other-build') {
    return `${file} is ${mark ? describe(mark) : 'another build'} by now and stays: restart the agent, which is another build`;
  }
  return `${file} is another program's and stays: move it away, or set install: replace`;
}

export class Installer implements Task {
  readonly name = 'install';
  readonly #parts: InstallerParts;
  readonly #wake = new Wake();
  #isDone = false;
  #isFirst = true;
  #problems: string[] = [];

  constructor(parts: InstallerParts) {
    this.#parts = parts;
  }

  notReady(): string | undefined {
    return this.#isDone ? undefined : 'the plugin executables are not installed yet';
  }

  /** They have been installed once. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** What stands against it. Another suite's `bridge` or `loopback` does not: it does the same work. */
  get problems(): readonly string[] {
    return this.#problems;
  }

  /** The folder may have changed. */
  readonly folderChanged = (): void => this.#wake.soon('host');

  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake.stop());
    while (!signal.aborted) {
      const was = this.#problems.join('\n');
      const wasDone = this.#isDone;
      await this.#ensure();
      if (was !== this.#problems.join('\n') || wasDone !== this.#isDone) this.#parts.changed();
      await pause(pauseMs, signal);
      if (!signal.aborted) await this.#wake.next(this.#parts.everySeconds * 1000);
    }
  }

  async #ensure(): Promise<void> {
    const { folder, source = ownExecutable, log } = this.#parts;
    try {
      const { steps, kept } = this.#plan(source);
      await apply(folder, steps, source);
      if (steps.length > 0) log('info', 'installed', { folder, names: steps.map((s) => s.name) });
      this.#problems = kept.filter((k) => k.name === mainName).map((k) => inWords(folder, k));
      if (this.#isFirst) this.#tellKept(kept);
      this.#isDone ||= !kept.some((k) => k.name === mainName && k.why === 'foreign');
      this.#isFirst = false;
    } catch (error) {
      this.#problems = [`the plugin executables cannot be installed in ${folder}: ${(error as Error).message}`];
    }
  }

  #plan(source: string): InstallPlan {
    const { folder, names, replace } = this.#parts;
    return plan(look(folder, names), ownMark(source), {
      foreign: replace ? 'replace' : 'keep',
      otherBuild: this.#isFirst ? 'replace' : 'keep',
    });
  }

  #tellKept(kept: readonly Kept[]): void {
    const { folder, log } = this.#parts;
    const others = kept.filter((k) => k.name !== mainName).map((k) => k.name);
    if (others.length > 0) log('info', "other programs' files stay", { folder, names: others });
  }
}

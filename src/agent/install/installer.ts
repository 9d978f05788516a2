/**
 * The agent's care of the plugins' executables: installs its own before the runtime hears of the network, and again when a
 * package's upgrade or a person deletes one. At its start the agent's build takes the place of another build of ours, so that an
 * upgrade (or the way back) is a restart; afterwards another build is somebody's upgrade, and stays until the agent is restarted.
 */

import { getRawAsset } from 'node:sea';
import { mainName } from '../../kernel/own.ts';
import type { Log } from '../log.ts';
import { pause, type Task } from '../task.ts';
import { Wake } from '../wake.ts';
import { apply, describe, type InstallPlan, isReal, type Kept, look, plan, type Sources } from './executables.ts';
import { type Mark, readMark } from './mark.ts';

/** Also when this process runs from a file that was deleted or replaced. */
export const ownSources: Sources = {
  node: '/proc/self/exe',
  main: () => Buffer.from(getRawAsset(mainName) as ArrayBuffer),
};

/** This process's own mark. Throws when it is not the single executable. */
export function ownMark({ node } = ownSources): Mark {
  const mark = readMark(node);
  if (mark) return mark;
  throw new Error(`${node} bears no mark of the build, so there is nothing to install: run dist/bin/culvert`);
}

export interface InstallerParts {
  readonly folder: string;
  /** Of all executables. */
  readonly names: readonly string[];
  /** Take the place of other programs' files too. */
  readonly replace: boolean;
  readonly everySeconds: number;
  readonly log: Log;
  /** Called when there is something to do or to say. */
  readonly changed: () => void;
  /** What to copy, when it is not this process's own. */
  readonly sources?: Sources;
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
    const { folder, sources = ownSources, log } = this.#parts;
    try {
      const { steps, kept } = this.#plan(sources);
      await apply(folder, steps, sources);
      if (steps.length > 0) log('info', 'installed', { folder, names: steps.map((s) => s.name) });
      this.#problems = kept.filter((k) => isReal(k.name)).map((k) => inWords(folder, k));
      if (this.#isFirst) this.#tellKept(kept);
      this.#isDone ||= !kept.some((k) => isReal(k.name) && k.why === 'foreign');
      this.#isFirst = false;
    } catch (error) {
      this.#problems = [`the plugin executables cannot be installed in ${folder}: ${(error as Error).message}`];
    }
  }

  #plan(sources: Sources): InstallPlan {
    const { folder, names, replace } = this.#parts;
    return plan(look(folder, names), ownMark(sources), {
      foreign: replace ? 'replace' : 'keep',
      otherBuild: this.#isFirst ? 'replace' : 'keep',
    });
  }

  #tellKept(kept: readonly Kept[]): void {
    const { folder, log } = this.#parts;
    const others = kept.filter((k) => !isReal(k.name)).map((k) => k.name);
    if (others.length > 0) log('info', "other programs' files stay", { folder, names: others });
  }
}

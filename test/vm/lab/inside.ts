/**
 * Test files of another layer, run inside a machine: the same vitest with the same configuration, on Debian's own kernel. For
 * cases that need of the kernel what the host's may lack.
 */

import { rmSync } from 'node:fs';
import { UsageError } from '../../../src/command.ts';
import { onDemand, type Tally } from '../../support/tally.ts';
import { ensureBase } from './base.ts';
import { modulesDrive, projectDrive } from './drives.ts';
import { scratchDir } from './scratch.ts';
import { Vm } from './vm.ts';

export interface InsideRun {
  layer: string;
  files: readonly string[];
  /** Full names, as vitest prints them, of the only tests to run; all of the files when it is left out. */
  names?: readonly string[];
}

export interface InsideResult {
  exitCode: number;
  /** What vitest printed. */
  output: string;
  /** Lines as test/support/tally.ts writes them. */
  tally: string;
}

/** "test/conformance/bridge-vlan.test.ts" → conformance. */
export function layerOf(file: string): string {
  const match = /^test\/(conformance|plugins|netns|clients|unit)\/.+\.test\.ts$/.exec(file);
  if (match) return match[1]!;
  throw new UsageError(`test file: got "${file}", want one such as test/conformance/bridge-vlan.test.ts`);
}

/** Test files by the layer they belong to: each has a configuration of its own. */
export const byLayer = (files: readonly string[]): InsideRun[] =>
  [...Map.groupBy(files, layerOf)].map(([layer, own]) => ({ layer, files: own }));

/** What layers have reported as NOT RUN for want of something in the host's kernel; with `all` also what is run on demand. */
export function lackingKernel(tallyLines: string, all = false): InsideRun[] {
  const tallies = tallyLines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Tally);
  const cases = tallies
    .flatMap((t) => t.notRun)
    .filter(({ reason }) => reason.startsWith('this kernel has no') && (all || !reason.endsWith(onDemand)));
  return [...Map.groupBy(cases, (c) => layerOf(c.file))].map(([layer, own]) => ({
    layer,
    files: [...new Set(own.map((c) => c.file))],
    names: own.map((c) => c.name),
  }));
}

const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

/** vitest's -t looks at suites and test joined by blanks. */
const pattern = (names: readonly string[]): string =>
  `^ ?(${names.map((name) => name.replaceAll(' > ', ' ').replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')})$`;

function script({ layer, files, names }: InsideRun): string {
  const only = names ? `-t ${quoted(pattern(names))}` : '';
  return [
    'cd /project',
    `export CULVERT_TALLY=/run/tally CULVERT_LAYER=${quoted(process.env['CULVERT_LAYER'] ?? 'in a VM')} CI=1`,
    // emulated processors: what takes a second elsewhere takes eight
    `export CULVERT_PATIENCE=${process.env['CULVERT_PATIENCE'] ?? 8}`,
    // the native loader: no bundle of the configuration is written beside it, where nothing can be written
    `vitest run --configLoader native --config test/vitest.${layer}.ts ${only} ${files.map(quoted).join(' ')} 2>&1`,
  ].join('\n');
}

/** Does something in a machine of its own that has this checkout and Node. */
async function inMachine<T>(name: string, work: (vm: Vm) => Promise<T>): Promise<T> {
  const [base, project, modules] = [await ensureBase(), await projectDrive(), await modulesDrive()];
  const dir = scratchDir();
  const vm = await Vm.boot({
    name,
    dir,
    base,
    drives: { project, modules },
    processors: 2,
    memoryMebibytes: 1536,
    translationMebibytes: 1024,
  });
  try {
    return await work(vm);
  } finally {
    await vm.off();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Runs tests of one layer in a machine of their own. */
export const runInside = (run: InsideRun): Promise<InsideResult> =>
  inMachine(run.layer, async (vm) => {
    const { exitCode, stdout } = await vm.run(script(run));
    return { exitCode, output: stdout, tally: (await vm.run('cat /run/tally')).stdout };
  });

/** Runs a command, words as they stand, in this checkout. */
export const runCommandInside = (argv: readonly string[]) =>
  inMachine('command', (vm) => vm.run(`cd /project && ${argv.map(quoted).join(' ')}`));

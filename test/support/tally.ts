/**
 * Reporter that keeps count across test layers: one line of JSON per test module in the file CULVERT_TALLY, read by scripts/test.
 * A test that did not run is always listed with its reason; with REQUIRE_ALL set it is a failure.
 */

import { appendFileSync } from 'node:fs';
import type { Reporter, SerializedError, TestCase, TestModule } from 'vitest/node';

export interface Tally {
  /** CULVERT_LAYER: what scripts/test calls the run. */
  layer: string;
  passed: number;
  failed: number;
  failures?: Failure[];
  /** Passed at the second try only. */
  unstable?: Failure[];
  /** Which tests ran: file and full name. */
  ran?: string[];
  notRun: NotRun[];
}

export interface NotRun {
  file: string;
  name: string;
  reason: string;
}

export interface Failure {
  file: string;
  name: string;
  /** First line of what was thrown, at every try. */
  error: string;
}

/** Ends the reason of a case that a machine with Debian's kernel runs only where everything is asked for (REQUIRE_ALL). */
export const onDemand = '; REQUIRE_ALL=1 runs it in a machine';

/** What tells a test from all others, in whichever layer it runs. */
export const testId = (file: string, name: string): string => `${file} > ${name}`;

/** Why a test did not run; undefined when nobody wanted it to: `-t` chose others. */
function reasonOf(test: TestCase): string | undefined {
  const result = test.result();
  if ('note' in result && result.note) return result.note;
  return process.env['CULVERT_BIN'] ? 'beyond the reference plugins' : undefined;
}

/** A test that threw, with each try. */
function failureOf(test: TestCase): Failure {
  const errors = test.result().errors ?? [];
  const error = errors.map(({ message }) => firstLine(message)).join('; then: ');
  return { file: test.module.relativeModuleId, name: test.fullName, error };
}

const firstLine = (text: string): string => text.split('\n', 1)[0]!.slice(0, 300);

/** What was thrown while a file was loaded, or before or after all of its tests. */
function outsideTests(module: TestModule): Failure[] {
  const file = module.relativeModuleId;
  return [module, ...module.children.allSuites()].flatMap((part) =>
    part.errors().map(({ message }) => ({
      file,
      name: part.type === 'suite' ? `${part.fullName} > before or after all` : 'the file itself',
      error: firstLine(message),
    })),
  );
}

function tallyOf(modules: readonly TestModule[]): Required<Tally> {
  const tally: Required<Tally> = {
    layer: process.env['CULVERT_LAYER'] ?? '',
    passed: 0,
    failed: 0,
    failures: [],
    unstable: [],
    ran: [],
    notRun: [],
  };
  for (const module of modules) {
    tally.failures.push(...outsideTests(module));
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === 'passed' || state === 'failed') {
        tally.ran.push(testId(module.relativeModuleId, test.fullName));
        if (state === 'failed') tally.failures.push(failureOf(test));
        else tally.passed++;
        if (state === 'passed' && test.diagnostic()?.flaky) tally.unstable.push(failureOf(test));
        continue;
      }
      const reason = reasonOf(test);
      if (reason) tally.notRun.push({ file: module.relativeModuleId, name: test.fullName, reason });
    }
  }
  return tally;
}

export default class TallyReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly SerializedError[]): void {
    const tally = tallyOf(modules);
    for (const { message } of errors) {
      tally.failures.push({ file: '', name: 'outside of every test', error: firstLine(message) });
    }
    tally.failed = tally.failures.length;
    const file = process.env['CULVERT_TALLY'];
    if (file) {
      appendFileSync(file, `${JSON.stringify(tally)}\n`);
      return; // what did not run here may run in another layer: the summary judges
    }
    if (tally.notRun.length > 0 && process.env['REQUIRE_ALL'] === '1') process.exitCode = 1;
    for (const { name, error } of tally.unstable) console.log(`UNSTABLE ${name}: ${error}`);
    for (const { name, reason } of tally.notRun) console.log(`NOT RUN  ${name}: ${reason}`);
  }
}

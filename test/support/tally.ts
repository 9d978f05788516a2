/**
 * Reporter that keeps count across test layers: one line of JSON per test module in the file CULVERT_TALLY, read by scripts/test.
 * A test that did not run is always listed with its reason; with REQUIRE_ALL set it is a failure.
 */

import { appendFileSync } from 'node:fs';
import type { Reporter, TestCase, TestModule } from 'vitest/node';

export interface Tally {
  /** CULVERT_LAYER: what scripts/test calls the run. */
  layer: string;
  passed: number;
  failed: number;
  /** Which tests ran: file and full name. */
  ran?: string[];
  notRun: NotRun[];
}

export interface NotRun {
  file: string;
  name: string;
  reason: string;
}

/** What tells a test from all others, in whichever layer it runs. */
export const testId = (file: string, name: string): string => `${file} > ${name}`;

/** Why a test did not run; undefined when nobody wanted it to: `-t` chose others. */
function reasonOf(test: TestCase): string | undefined {
  const result = test.result();
  if ('note' in result && result.note) return result.note;
  return process.env['CULVERT_BIN'] ? 'beyond the reference plugins' : undefined;
}

function tallyOf(modules: readonly TestModule[]): Tally {
  const tally = {
    layer: process.env['CULVERT_LAYER'] ?? '',
    passed: 0,
    failed: 0,
    ran: [] as string[],
    notRun: [] as NotRun[],
  };
  for (const module of modules) {
    if (module.state() === 'failed' && [...module.children.allTests()].length === 0) tally.failed++;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === 'passed' || state === 'failed') {
        tally[state]++;
        tally.ran.push(testId(module.relativeModuleId, test.fullName));
        continue;
      }
      const reason = reasonOf(test);
      if (reason) tally.notRun.push({ file: module.relativeModuleId, name: test.fullName, reason });
    }
  }
  return tally;
}

export default class TallyReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const tally = tallyOf(modules);
    tally.failed += errors.length;
    const file = process.env['CULVERT_TALLY'];
    if (file) {
      appendFileSync(file, `${JSON.stringify(tally)}\n`);
      return; // what did not run here may run in another layer: the summary judges
    }
    if (tally.notRun.length > 0 && process.env['REQUIRE_ALL'] === '1') process.exitCode = 1;
    for (const { name, reason } of tally.notRun) console.log(`NOT RUN  ${name}: ${reason}`);
  }
}

/**
 * Reporter that keeps count across test layers: one line of JSON per test module in the file CULVERT_TALLY, read by scripts/test.
 * A test that did not run is always listed with its reason; with REQUIRE_ALL set it is a failure.
 */

import { appendFileSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';

export interface Tally {
  /** CULVERT_LAYER: what scripts/test calls the run. */
  layer: string;
  passed: number;
  failed: number;
  /** "name: reason" */
  notRun: string[];
}

function tallyOf(modules: readonly TestModule[]): Tally {
  const tally: Tally = { layer: process.env['CULVERT_LAYER'] ?? '', passed: 0, failed: 0, notRun: [] };
  for (const module of modules) {
    if (module.state() === 'failed' && [...module.children.allTests()].length === 0) tally.failed++;
    for (const test of module.children.allTests()) {
      const result = test.result();
      if (result.state === 'passed') tally.passed++;
      else if (result.state === 'failed') tally.failed++;
      else
        tally.notRun.push(`${test.fullName}: ${('note' in result && result.note) || 'beyond the reference plugins'}`);
    }
  }
  return tally;
}

export default class TallyReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const tally = tallyOf(modules);
    tally.failed += errors.length;
    if (tally.notRun.length > 0 && process.env['REQUIRE_ALL'] === '1') process.exitCode = 1;
    const file = process.env['CULVERT_TALLY'];
    if (file) appendFileSync(file, `${JSON.stringify(tally)}\n`);
    else for (const line of tally.notRun) console.log(`NOT RUN  ${line}`);
  }
}

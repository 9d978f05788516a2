/**
 * The end of scripts/test: adds up what the layers counted, lists what did not run and why, what passed at its second
 * try only, and last what failed.
 * Arguments: the tally file, then the layers that must have run. Exit code 1 when anything failed or a layer had no test.
 */

import { readFileSync } from 'node:fs';
import { type Failure, type Tally, testId } from './support/tally.ts';

const [file, ...layers] = process.argv.slice(2) as [string, ...string[]];
const tallies = readFileSync(file, 'utf8')
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => JSON.parse(line) as Tally);

const sum = (count: (tally: Tally) => number): number => tallies.reduce((total, tally) => total + count(tally), 0);

const empty = layers.filter((layer) => !tallies.some((t) => t.layer === layer && t.passed + t.failed > 0));
const failed = sum((t) => t.failed) + empty.length;
/** A case that one layer could not run and another could, on a kernel that has what it needs, did run. */
const ran = new Set(tallies.flatMap((t) => t.ran ?? []));
const notRun = tallies.flatMap((t) =>
  t.notRun.filter((n) => !ran.has(testId(n.file, n.name))).map((n) => ({ ...n, layer: t.layer })),
);

/** Cases of one file that lack the same thing are one line. */
const groups = Map.groupBy(notRun, ({ layer, file, reason }) => `${layer}: ${file}: ${reason}`);
for (const [line, cases] of groups) {
  console.log(`NOT RUN  ${line} (${cases.length === 1 ? cases[0]!.name : `${cases.length} cases`})`);
}
const show = (word: string, layer: string, list: readonly Failure[] = []): void => {
  for (const { file, name, error } of list)
    console.log(`${word} ${layer}: ${file} > ${name}${error && `\n         ${error}`}`);
};
for (const { layer, unstable } of tallies) show('UNSTABLE', layer, unstable);
for (const { layer, failures } of tallies) show('FAILED  ', layer, failures);
for (const layer of empty) console.log(`FAILED   ${layer}: the layer ran no test`);
console.log(`${sum((t) => t.passed)} passed, ${failed} failed, ${notRun.length} skipped`);
if (failed > 0 || (notRun.length > 0 && process.env['REQUIRE_ALL'] === '1')) process.exitCode = 1;

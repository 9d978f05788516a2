/** The start of a plugin that does nothing, beside an empty single executable of the same Node and the machine's own floor. */

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildExecutable } from '../sea.ts';
import { alternate, type Subject } from './measure.ts';
import type { Bench, Section } from './section.ts';
import { demand, execute } from './suite.ts';

/** Built by this Node from an empty program, with neither snapshot nor code cache. */
function buildEmpty(dir: string): string {
  const output = 'empty';
  writeFileSync(join(dir, 'empty.cjs'), '');
  buildExecutable(dir, { main: 'empty.cjs', output });
  return join(dir, output);
}

/** A program that is no plugin, started the same way. */
function bare(label: string, file: string): Subject {
  const run = (): number => {
    const started = performance.now();
    const r = spawnSync(file, [], { encoding: 'utf8', input: '{}', env: { PATH: process.env['PATH'] ?? '' } });
    const ms = performance.now() - started;
    demand(label, r);
    return ms;
  };
  return { label, run };
}

async function run(bench: Bench) {
  const conf = { cniVersion: '1.0.0' };
  const plugins = bench.suites.map((suite): Subject => {
    const one = { suite, plugin: 'loopback', command: 'VERSION', conf };
    return { label: suite.label, run: () => execute(one).ms };
  });
  const empty = 'empty Node executable';
  const others = [bare(empty, buildEmpty(bench.dir)), bare('/bin/true', '/bin/true')];
  const figures = await alternate([...plugins, ...others], bench.rounds);
  return [{ work: 'VERSION', unit: 'ms' as const, figures, target: { atMost: 1.4, over: empty } }];
}

export const start: Section = { name: 'start', title: 'Start of a process', run };

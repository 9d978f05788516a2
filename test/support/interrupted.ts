/**
 * A run of tests that somebody interrupts: what its tests have started and made goes, since they do not come to it themselves.
 * A run that comes to its end is left alone: what its tests forgot is to be seen.
 */

import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pidsWith } from './processes.ts';

/** Which run a process belongs to, and a part of the names of what it makes. */
export const runVariable = 'CULVERT_TEST_RUN';

function named(dir: string, mark: string): string[] {
  return existsSync(dir) ? readdirSync(dir).filter((name) => name.includes(mark)) : [];
}

function removeAll(run: string): void {
  // this process's own environment, as the kernel shows it, is that of its start
  for (const pid of pidsWith('environ', `${runVariable}=${run}`)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // it has ended meanwhile
    }
  }
  const mark = `-${run}-`;
  for (const name of named('/run/netns', mark)) spawnSync('ip', ['netns', 'delete', name]);
  for (const name of named(tmpdir(), mark)) rmSync(join(tmpdir(), name), { recursive: true, force: true });
}

export default function setup(): void {
  const run = randomBytes(3).toString('hex');
  process.env[runVariable] = run;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => removeAll(run));
}

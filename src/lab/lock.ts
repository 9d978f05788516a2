/** A lock file that names its holder: one whose holder was killed counts for nothing. */

import { linkSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { readIfThere } from '../store/files.ts';
import { isAlive, type ProcessId, processOf } from './process.ts';

/** The living process that holds a lock. */
export function holderOf(file: string): ProcessId | undefined {
  const [pid, startTime] = (readIfThere(file) ?? '').trim().split(' ');
  const holder = { pid: Number(pid), startTime: startTime ?? '' };
  return pid && isAlive(holder) ? holder : undefined;
}

/** Takes a lock until it is disposed of. Throws an Error, with `what` in its words, when another process holds it. */
export function takeLock(file: string, what: string): Disposable {
  const own = processOf(process.pid)!;
  const draft = `${file}.${own.pid}`;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(draft, `${own.pid} ${own.startTime}\n`);
  try {
    for (;;) {
      try {
        linkSync(draft, file);
        return { [Symbol.dispose]: () => rmSync(file, { force: true }) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const holder = holderOf(file);
      if (holder)
        throw new Error(`${what} is being changed by process ${holder.pid}: wait until it is done, or end it`);
      rmSync(file, { force: true });
    }
  } finally {
    rmSync(draft, { force: true });
  }
}

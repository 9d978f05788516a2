/** Processes of this machine, whatever namespaces they run in. */

import { readdirSync, readFileSync } from 'node:fs';

/** Where of a process something stands: its command line, its environment, the names of its cgroups. */
type Place = 'cmdline' | 'environ' | 'cgroup';

/** Those that have this there. */
export function pidsWith(file: Place, mark: string): number[] {
  const isIt = (pid: string): boolean => {
    try {
      return readFileSync(`/proc/${pid}/${file}`, 'utf8').includes(mark);
    } catch {
      return false; // it has ended meanwhile
    }
  };
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && isIt(entry))
    .map(Number);
}

/** When it started, in ticks since the machine did (proc(5), stat, field 22); never, for one that has ended. */
function startOf(pid: number): number {
  try {
    const afterName = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!;
    return Number(afterName.split(' ')[19]);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** The one that has run longest, not one that ends right now; numbers begin anew at 1. Throws when there is none. */
export function pidOf(file: Place, mark: string): number {
  const [pid] = pidsWith(file, mark).sort((a, b) => startOf(a) - startOf(b));
  if (pid === undefined) throw new Error(`no process with ${mark}`);
  return pid;
}

/** A process's network namespace. */
export const netnsOf = (pid: number): string => `/proc/${pid}/ns/net`;

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

/** The first of them; throws when there is none. */
export function pidOf(file: Place, mark: string): number {
  const [pid] = pidsWith(file, mark);
  if (pid === undefined) throw new Error(`no process with ${mark}`);
  return pid;
}

/** A process's network namespace. */
export const netnsOf = (pid: number): string => `/proc/${pid}/ns/net`;

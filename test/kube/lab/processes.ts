/** Processes of the nodes' pods, as this machine sees them. */

import { readdirSync, readFileSync } from 'node:fs';

/** The one whose command line or environment has this. */
export function findPid(file: 'cmdline' | 'environ', mark: string): number | undefined {
  const isIt = (pid: string): boolean => {
    try {
      return readFileSync(`/proc/${pid}/${file}`, 'utf8').includes(mark);
    } catch {
      return false; // it has ended meanwhile
    }
  };
  const pid = readdirSync('/proc').find((entry) => /^\d+$/.test(entry) && isIt(entry));
  return pid === undefined ? undefined : Number(pid);
}

/** The same; throws when there is none. */
export function pidOf(file: 'cmdline' | 'environ', mark: string): number {
  const pid = findPid(file, mark);
  if (pid === undefined) throw new Error(`no process with ${mark}`);
  return pid;
}

/** A process's network namespace. */
export const netnsOf = (pid: number): string => `/proc/${pid}/ns/net`;

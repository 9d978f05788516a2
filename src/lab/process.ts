/**
 * Processes of a lab. A process is its pid together with its start time: a pid that the kernel gave to somebody else is never
 * signalled. All of a lab's processes carry its name in their environment, so none is lost with a file.
 */

import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { labVariable } from './place.ts';

export interface ProcessId {
  pid: number;
  /** Clock ticks since boot, field 22 of /proc/PID/stat. */
  startTime: string;
}

function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return undefined;
  }
}

/** The process that has this pid now; undefined when there is none, or only a zombie. */
export function processOf(pid: number): ProcessId | undefined {
  const stat = readProc(pid, 'stat');
  if (!stat) return undefined;
  // the command's name, in parentheses, may hold anything: fields are counted after its end
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : { pid, startTime: fields[19] ?? '' };
}

export const isAlive = (p: ProcessId): boolean => processOf(p.pid)?.startTime === p.startTime;

/** The file a process runs, undefined when it was replaced since or the process is gone. */
export function executableOf(p: ProcessId): string | undefined {
  try {
    return isAlive(p) ? readlinkSync(`/proc/${p.pid}/exe`) : undefined;
  } catch {
    return undefined;
  }
}

export const commandLineOf = (p: ProcessId): string[] => (readProc(p.pid, 'cmdline') ?? '').split('\0');

/** Whether a process is a plugin's execution. */
export const isPlugin = (p: ProcessId): boolean => /(^|\0)CNI_COMMAND=/.test(readProc(p.pid, 'environ') ?? '');

/** Whether a process is in the network namespace at a path. */
export function isInNamespace(p: ProcessId, netns: string): boolean {
  const own = statSync(`/proc/${p.pid}/ns/net`, { throwIfNoEntry: false });
  const there = statSync(netns, { throwIfNoEntry: false });
  return own !== undefined && own.ino === there?.ino && own.dev === there.dev;
}

/** This process and all it descends from: `culvert lab down` in a shell that `culvert lab exec` opened must not end itself. */
function ownLine(): Set<number> {
  const line = new Set<number>();
  for (let pid = process.pid; pid > 0 && !line.has(pid); ) {
    line.add(pid);
    const stat = readProc(pid, 'stat') ?? '';
    pid = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? 0);
  }
  return line;
}

/** Every process of a lab but this one and its ancestors. */
export function processesOf(lab: string): ProcessId[] {
  const spared = ownLine();
  const mark = `${labVariable}=${lab}`;
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .filter((pid) => !spared.has(pid) && readProc(pid, 'environ')?.split('\0').includes(mark))
    .flatMap((pid) => processOf(pid) ?? []);
}

function signal(p: ProcessId, name: NodeJS.Signals): void {
  try {
    if (isAlive(p)) process.kill(p.pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Waits until a condition holds; false when it did not in time. */
export async function waitUntil(
  condition: () => boolean | Promise<boolean>,
  timeoutMs: number,
  everyMs = 20,
): Promise<boolean> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    if (await condition()) return true;
    if (Date.now() >= end) return false;
    await sleep(everyMs);
  }
}

/** Ends processes: asks, waits, and then insists. Answers how many there were. */
export async function endProcesses(processes: readonly ProcessId[], patienceMs = 3000): Promise<number> {
  const alive = processes.filter(isAlive);
  for (const p of alive) signal(p, 'SIGTERM');
  const ended = () => !alive.some(isAlive);
  if (!(await waitUntil(ended, patienceMs))) {
    for (const p of alive) signal(p, 'SIGKILL');
    await waitUntil(ended, 2000);
  }
  return alive.length;
}

/** Leaked leases and `culvert ipam`: what a case has to do to make the ones and to run the other. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dataDir } from './ipam.ts';
import { binDir, type Host, inside, type Ran, run } from './netns.ts';

export interface ShownLease {
  network: string;
  address: string;
  containerId: string;
  ifname: string;
  state: string;
  reason: string;
  ageSeconds: number;
  netns?: string;
}

/** `culvert ipam` with the machine's own leases. */
export const ipam = (host: Host, line: string): Ran =>
  host.try(`${join(binDir, 'culvert')} ipam ${line} --data-dir ${dataDir(host)}`);

/** The same, its JSON; throws when it printed none. */
export function ipamJson<T>(host: Host, line: string): T {
  const { stdout, stderr } = ipam(host, `${line} --json`);
  if (stdout === '') throw new Error(`ipam ${line}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

/** Every lease as "address state". */
export const states = (host: Host): string[] =>
  ipamJson<{ leases: ShownLease[] }>(host, 'show').leases.map((l) => `${l.address} ${l.state}`);

/** Sweeps and answers the addresses that were freed. */
export const sweep = (host: Host, options = ''): string[] =>
  ipamJson<{ freed: ShownLease[] }>(host, `sweep ${options}`.trim()).freed.map((l) => l.address);

/**
 * Runs a program as if the machine had been booted again: in a mount namespace where the kernel's boot id is another file. That of
 * `boot` stands for one boot each.
 */
export function afterReboot(
  host: Host,
  argv: readonly string[],
  { boot = 1, env = [] as string[], stdin = '' } = {},
): string {
  const file = join(host.dir, `boot${boot}`);
  writeFileSync(file, `${String(boot).repeat(8)}-2222-4333-8444-555555555555\n`);
  const script = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"';
  return run([...inside(host.netns, 'unshare -m env'), ...env, 'sh', '-c', script, file, ...argv], stdin);
}

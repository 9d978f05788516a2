/** One question by ICMP, of a given size and never fragmented, and whether it was answered. */

import { CommandError } from '../errors.ts';
import type { Run } from '../kernel/workers.ts';
import { type Family, familyOf } from '../net/address.ts';

export interface Ping {
  readonly address: string;
  /** Our address to ask from; absent: the kernel's choice. */
  readonly source?: string | undefined;
  /** Of the IP packet; absent: a small one, which may be fragmented. */
  readonly bytes?: number | undefined;
}

/** IP and ICMP headers. */
const headerBytes: Readonly<Record<Family, number>> = { 4: 28, 6: 48 };

/** One answer is enough; `how` it is waited for and what is said meanwhile, in ping's options. */
export function pingArgv({ address, source, bytes }: Ping, how: readonly string[]): string[] {
  const from = source === undefined ? [] : ['-I', source];
  const size = bytes === undefined ? [] : ['-M', 'do', '-s', String(bytes - headerBytes[familyOf(address)])];
  return ['ping', '-n', '-c', '1', ...how, ...from, ...size, address];
}

/** Asks once. */
export async function ping(run: Run, probe: Ping): Promise<boolean> {
  try {
    await run(pingArgv(probe, ['-q', '-W', '1']));
    return true;
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return false;
  }
}

/** One question by ICMP, of a given size and never fragmented, and whether it was answered. */

import { CommandError } from '../errors.ts';
import type { Exec } from '../kernel/exec.ts';

export interface Ping {
  readonly address: string;
  /** Our address to ask from; absent: the kernel's choice. */
  readonly source?: string | undefined;
  /** Of the IP packet; absent: a small one, which may be fragmented. */
  readonly bytes?: number | undefined;
}

/** IP and ICMP headers. */
const headerBytes = (address: string): number => (address.includes(':') ? 48 : 28);

/** Waits for a second at most. */
export async function ping(exec: Exec, { address, source, bytes }: Ping): Promise<boolean> {
  const from = source === undefined ? [] : ['-I', source];
  const size = bytes === undefined ? [] : ['-M', 'do', '-s', String(bytes - headerBytes(address))];
  try {
    await exec(['ping', '-n', '-q', '-c', '1', '-W', '1', ...from, ...size, address]);
    return true;
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return false;
  }
}

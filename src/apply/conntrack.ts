/**
 * Connections that outlive the rule which translated them: as long as packets come, a udp flow keeps the translation it began
 * with, so a port's new owner would never see it. They are deleted, exactly those of the mapping.
 */

import { CommandError } from '../errors.ts';
import type { Machine } from '../kernel/machine.ts';
import type { Family } from '../net/address.ts';
import { failedWith } from './nft.ts';

/** Connections to a port, as they began: narrowed down by where they were for, or where they were sent instead. */
export interface Flow {
  family: Family;
  /** "tcp", "udp", "sctp". */
  protocol: string;
  port: number;
  /** The address the client asked for; any when absent. */
  to?: string | undefined;
  /** The address dnat sent them to; any or none when absent. */
  dnat?: string;
}

const words = ({ family, protocol, port, to, dnat }: Flow): string[] => [
  ...['-D', '-f', `ipv${family}`, '-p', protocol, '--orig-port-dst', `${port}`],
  ...(to ? ['--orig-dst', to] : []),
  ...(dnat ? ['--dst-nat', dnat] : []),
];

/** None such is what conntrack calls a failure. */
async function forgetOne({ exec }: Machine, flow: Flow): Promise<void> {
  await exec(['conntrack', ...words(flow)]).catch((error: unknown) => {
    if (!(error instanceof CommandError && error.stderr.includes('0 flow entries'))) throw error;
  });
}

/** Deletes them in one process, or (conntrack before 1.4.7) one each. What cannot be done is told, not thrown: it heals with time. */
export async function forgetConnections(machine: Machine, flows: readonly Flow[]): Promise<void> {
  if (flows.length === 0) return;
  try {
    try {
      await machine.kernel.conntrack(flows.map((flow) => words(flow).join(' ')));
    } catch {
      await Promise.all(flows.map((flow) => forgetOne(machine, flow)));
    }
  } catch (error) {
    const why = failedWith(error, 'no-program') ? 'the program conntrack is not installed' : (error as Error).message;
    machine.warn(`portmap: running connections keep their old translation: ${why}`);
  }
}

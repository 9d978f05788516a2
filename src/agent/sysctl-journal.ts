/**
 * What the host's sysctls were before the agent changed them, so that `culvert uninstall` can put them back. Those of our own
 * links go with the links. A reboot puts all of them back to what the host's own configuration says, so the journal is that of one
 * boot.
 */

import { join } from 'node:path';
import { z } from 'zod';
import { linkNames } from '../kernel/ifaddrs.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { Change } from '../plan/diff.ts';
import { deviceNames } from '../plan/overlay.ts';
import { readDocument, writeDocument } from '../store/files.ts';
import { readBootId } from '../store/lease-identity.ts';

/** Below /proc/sys. */
const keySchema = z.string().refine((key) => key.startsWith('net/') && !key.split('/').includes('..'));

const entrySchema = z.object({
  key: keySchema,
  was: z.string(),
  set: z.string(),
  /** What the kernel changes along with it, and would not change back to this. */
  along: z.array(z.object({ key: keySchema, was: z.string() })),
});
const schema = z.object({ bootId: z.string(), sysctls: z.array(entrySchema) });

export type JournalEntry = z.infer<typeof entrySchema>;

export const journalFile = (state: string): string => join(state, 'sysctls.json');

/** This boot's entries; none when there is no journal, or one that cannot be read. */
export function readJournal(file: string, bootId = readBootId()): JournalEntry[] {
  const { data: journal } = schema.safeParse(readDocument(file));
  return journal?.bootId === bootId ? journal.sysctls : [];
}

type Reads = Pick<Kernel, 'readSysctl'>;

/**
 * Switching forwarding sets it on every interface, and `accept_redirects` to its opposite (ip-sysctl.rst): what that does not
 * undo by itself when it is switched back.
 */
function alongWith(key: string, kernel: Reads): JournalEntry['along'] {
  const family = { 'net/ipv4/ip_forward': 'ipv4', 'net/ipv6/conf/all/forwarding': 'ipv6' }[key];
  if (family === undefined) return [];
  const undone = new Map(['default', ...linkNames()].map((name) => [`net/${family}/conf/${name}/forwarding`, '0']));
  if (family === 'ipv4') undone.set('net/ipv4/conf/all/accept_redirects', '1');
  return [...undone].flatMap(([along, value]) => {
    const was = kernel.readSysctl(along);
    return was === undefined || was === value ? [] : [{ key: along, was }];
  });
}

const isOfOurLink = (key: string): boolean => key.split('/').some((part) => deviceNames.includes(part));

export class SysctlJournal {
  readonly #file: string;
  readonly #kernel: Reads;
  readonly #bootId: string;
  #entries: JournalEntry[];
  /** Why the last change could not be kept. */
  problem: string | undefined;

  constructor(file: string, kernel: Reads, bootId = readBootId()) {
    this.#file = file;
    this.#kernel = kernel;
    this.#bootId = bootId;
    this.#entries = readJournal(file, bootId);
  }

  /** Keeps what the changes are about to overwrite, on disk before they are made. That it cannot is no reason not to make them. */
  keep(changes: readonly Change[]): void {
    const fresh = changes.flatMap((change): JournalEntry[] => {
      if (change.op !== 'set-sysctl' || change.was === undefined || isOfOurLink(change.sysctl.key)) return [];
      const { key, value } = change.sysctl;
      const known = this.#entries.some((e) => e.key === key && e.set === value);
      return known ? [] : [{ key, was: change.was, set: value, along: alongWith(key, this.#kernel) }];
    });
    if (fresh.length === 0) return;
    // a second change of the same key: what was there at first counts
    const first = (e: JournalEntry): JournalEntry => {
      const before = this.#entries.find((known) => known.key === e.key);
      return before ? { ...before, set: e.set } : e;
    };
    const changed = fresh.map(first);
    const entries = [...this.#entries.filter((e) => !changed.some((c) => c.key === e.key)), ...changed];
    try {
      writeDocument(this.#file, { bootId: this.#bootId, sysctls: entries });
      this.#entries = entries;
      this.problem = undefined;
    } catch (error) {
      this.problem = `what sysctls were before cannot be kept for an uninstall: ${(error as Error).message}`;
    }
  }
}

/**
 * Frees leases, and what in the kernel belongs to them by our marks: masquerade, port mappings, the firewall's address.
 *
 * A container may be attached again under the same id while that happens, its marks are the same then. So an address whose lease
 * goes is held by a lease of the sweeper's until nothing answers for it any more, and only what has both the attachment's mark
 * and this very address is removed: the container's new lease is of another address.
 */

import { sweepFirewall } from '../apply/firewall.ts';
import { sweepMasquerade } from '../apply/masquerade.ts';
import { elementsOf, failedWith, showTable } from '../apply/nft.ts';
import { sweepPortmap } from '../apply/portmap.ts';
import { settle } from '../apply/settle.ts';
import { deleteLink } from '../apply/veth.ts';
import type { Machine } from '../kernel/machine.ts';
import { formatAddress } from '../net/address.ts';
import { attachmentMark, hostVethName } from '../net/name.ts';
import { firewallTable } from '../plan/firewall.ts';
import { masqueradeTable } from '../plan/masquerade.ts';
import { portmapTable } from '../plan/portmap.ts';
import { type Found, Leases } from '../store/leases.ts';
import type { NetworkLease } from './judge.ts';
import type { Place } from './survey.ts';

const idOf = ({ network, found }: NetworkLease) => ({ network, ...found.owner });

/** Mark and address: what tells an element of a lease that goes from one of its successor's. */
const keyOf = (mark: string, address: string): string => `${mark} ${address}`;

/** Marks of all attachments that have anything in our tables. */
async function marksInKernel({ kernel }: Machine): Promise<Set<string>> {
  try {
    const shown = await Promise.all(
      [masqueradeTable, portmapTable, firewallTable].map((table) => showTable(kernel, table)),
    );
    return new Set(shown.flatMap(elementsOf).map((e) => e.comment.split(' ')[0] ?? ''));
  } catch (error) {
    if (failedWith(error, 'no-program')) return new Set(); // then nothing was ever put there
    throw error;
  }
}

/** Removes from our tables what carries one of these marks together with its address. */
async function forget(keys: ReadonlySet<string>, machine: Machine): Promise<void> {
  if (keys.size === 0) return;
  const keep = (comment: string, address: string): boolean => !keys.has(keyOf(comment.split(' ')[0] ?? '', address));
  await settle([
    sweepMasquerade(machine.kernel, keep),
    sweepPortmap(machine, keep),
    sweepFirewall(machine.kernel, keep),
  ]);
}

/**
 * Frees exactly these leases and answers those it freed: what was freed or leased again meanwhile is left alone. `links`: their
 * ends on the host go as well, for leases that are freed though they are live.
 */
export async function freeLeases<T extends NetworkLease>(
  doomed: readonly T[],
  { dataDir, bootId }: Place,
  machine: Machine,
  { links = false } = {},
): Promise<T[]> {
  if (doomed.length === 0) return [];
  const stores = new Map(doomed.map(({ network }) => [network, new Leases(dataDir, network, bootId)]));
  const marks = await marksInKernel(machine);
  const freed: T[] = [];
  const placeholders: { store: Leases; placeholder: Found }[] = [];
  const keys = new Set<string>();
  try {
    for (const lease of doomed) {
      const store = stores.get(lease.network)!;
      const mark = attachmentMark(idOf(lease));
      const isMarked = marks.has(mark);
      if (links) await deleteLink(machine.kernel, hostVethName(idOf(lease)));
      const done = isMarked ? store.replace(lease.found) : { freed: store.free(lease.found) };
      if (!done.freed) continue;
      freed.push(lease);
      if (!('placeholder' in done) || !done.placeholder) continue; // nothing there, or the address has its next owner
      placeholders.push({ store, placeholder: done.placeholder });
      keys.add(keyOf(mark, formatAddress(lease.found.address)));
    }
    await forget(keys, machine);
  } finally {
    for (const { store, placeholder } of placeholders) store.free(placeholder);
    for (const store of stores.values()) store.tidy();
  }
  return freed;
}

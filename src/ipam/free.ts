/**
 * Frees leases, and what in the kernel belongs to them by our marks: masquerade, port mappings, the firewall's address.
 *
 * A container may be attached again under the same id while that happens, its marks are the same then. So an address whose lease
 * goes is held by a lease of the sweeper's until nothing answers for it any more, and only what has both the attachment's mark
 * and this very address is removed: the container's new lease is of another address.
 */

import { setImmediate } from 'node:timers/promises';
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
import type { JudgedLease, NetworkLease } from './judge.ts';
import { atOnce } from './paced.ts';
import type { Place, Survey } from './survey.ts';

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

/** Leases to be freed together, all of one machine. */
interface Freeing<T> {
  readonly stores: ReadonlyMap<string, Leases>;
  /** Marks that were in the kernel. */
  readonly marks: ReadonlySet<string>;
  readonly links: boolean;
  readonly machine: Machine;
  readonly freed: T[];
}

/** So many at a time: the placeholders of a sweep count as a dead one's after a minute. */
async function freeSome<T extends NetworkLease>(
  doomed: readonly T[],
  { stores, marks, links, machine, freed }: Freeing<T>,
): Promise<void> {
  const placeholders: { store: Leases; placeholder: Found }[] = [];
  const keys = new Set<string>();
  try {
    for (const lease of doomed) {
      const store = stores.get(lease.network)!;
      const mark = attachmentMark(idOf(lease));
      if (links) await deleteLink(machine.kernel, hostVethName(idOf(lease)));
      const done = marks.has(mark) ? store.replace(lease.found) : { freed: store.free(lease.found) };
      if (!done.freed) continue;
      freed.push(lease);
      if (!('placeholder' in done) || !done.placeholder) continue; // nothing there, or the address has its next owner
      placeholders.push({ store, placeholder: done.placeholder });
      keys.add(keyOf(mark, formatAddress(lease.found.address)));
    }
    await forget(keys, machine);
  } finally {
    for (const { store, placeholder } of placeholders) store.free(placeholder);
  }
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
  const freed: T[] = [];
  const freeing = { stores, marks: await marksInKernel(machine), links, machine, freed };
  for (let i = 0; i < doomed.length; i += atOnce) {
    await freeSome(doomed.slice(i, i + atOnce), freeing);
    await setImmediate();
  }
  return freed;
}

/** Frees some of the leases that a survey found, and removes what killed processes left of others. */
export async function sweep(
  doomed: readonly JudgedLease[],
  { leftovers }: Survey,
  place: Place,
  machine: Machine,
): Promise<JudgedLease[]> {
  const freed = await freeLeases(doomed, place, machine);
  for (const [network, folders] of leftovers) new Leases(place.dataDir, network, place.bootId).tidy(folders);
  return freed;
}

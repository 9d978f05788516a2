/** Veth pairs between host and container: made with the container's end already inside, removed from whichever end is left. */

import { openSync } from 'node:fs';
import { CommandError } from '../errors.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { netnsState } from '../kernel/netns.ts';
import { type AttachmentId, hostVethName, isHostEnd, networkMark } from '../net/name.ts';
import { type Change, diff } from '../plan/diff.ts';
import { emptyState, type NamespaceState } from '../plan/host.ts';
import { render } from '../plan/render.ts';
import { apply } from './apply.ts';
import { linksOf } from './read.ts';

/**
 * A namespace's path as a batch file of ip can hold it. One with blanks, quotes or "#" is opened, and named by our own
 * descriptor, which lives as long as this process.
 */
export function batchPath(netns: string): string {
  if (/^[\w./-]+$/.test(netns)) return netns;
  return `/proc/${process.pid}/fd/${openSync(netns, 'r')}`;
}

const isGone = (error: unknown): boolean => error instanceof CommandError && error.reason === 'not-found';

/**
 * Makes the host's share of an attachment, whose first link is the pair, in one batch with the changes that must come before
 * (the bridge, when it is missing). Answers how to take the pair back. When the making fails half-way the pair goes again,
 * unless it was there before us: then the error says so and it is left alone.
 */
export async function addVeth(
  kernel: Kernel,
  share: Partial<NamespaceState>,
  { before = [], actual = {} }: { before?: readonly Change[]; actual?: Partial<NamespaceState> } = {},
): Promise<() => Promise<void>> {
  const name = share.links?.[0]?.name ?? '';
  const remove = () => deleteLink(kernel, name).then(() => {});
  const changes = diff({ ...emptyState(), ...actual }, { ...emptyState(), ...share });
  // the line of the batch that adds the pair: when it, or one before it, failed, there is nothing of ours to remove
  const line = before.flatMap(render).filter((l) => l.program === 'ip').length + 1;
  try {
    await apply([...before, ...changes], kernel);
  } catch (error) {
    if (!(error instanceof CommandError && error.line !== undefined && error.line <= line)) await remove();
    throw error;
  }
  return remove;
}

/** Deletes a link; whether there was one. */
export async function deleteLink(kernel: Kernel, name: string, netns?: string): Promise<boolean> {
  if (!netns) return (await kernel.deleteLinks([name])).length > 0;
  try {
    await kernel.ip([`link delete dev ${name}`], netns);
    return true;
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}

/**
 * Removes an attachment's pair: by the host end's name, which we can compute, or, for pairs of another suite's making, by the
 * container's end; and links of the host that belong to it, `beside`. What is gone already is fine. Answers who had made the pair.
 */
export async function removeVeth(
  kernel: Kernel,
  host: string,
  netns: string,
  ifname: string,
  beside: readonly string[] = [],
): Promise<'ours' | 'foreign' | 'absent'> {
  if ((await kernel.deleteLinks([host, ...beside])).includes(host)) return 'ours';
  if (netns === '' || netnsState(netns) !== 'namespace') return 'absent';
  return (await deleteLink(kernel, ifname, netns)) ? 'foreign' : 'absent';
}

/** A network's links on the host, of these kinds, that belong to no attachment that counts: by kind, their names. */
export async function staleLinks(
  kernel: Kernel,
  network: string,
  valid: readonly AttachmentId[],
  kinds: readonly ('veth' | 'ifb')[],
): Promise<string[][]> {
  const keep = new Set(valid.map(hostVethName));
  const mark = networkMark(network);
  const shown = await kernel.show(kinds.map((kind) => `link show type ${kind}`));
  return shown.map((links) =>
    linksOf(links)
      .filter((l) => l.alias?.startsWith(`${mark}:`) || (!l.alias && isHostEnd(network, l.name, l.address)))
      // an attachment's links have the same digits
      .filter((l) => !keep.has(`veth${l.name.slice(-8)}`))
      .map((l) => l.name),
  );
}

/** GC: deletes the host ends of a network that belong to no attachment that counts, and what else of these kinds is theirs. */
export async function sweepVeths(
  kernel: Kernel,
  network: string,
  valid: readonly AttachmentId[],
  kinds: readonly ('veth' | 'ifb')[] = ['veth'],
): Promise<void> {
  await kernel.deleteLinks((await staleLinks(kernel, network, valid, kinds)).flat());
}

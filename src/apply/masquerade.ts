/** Masquerade of attachments in the kernel: the elements of `plan/masquerade.ts` put there, taken away, checked and swept. */

import { CommandError, type CommandReason } from '../errors.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { type Address, families, formatAddress, parseAddress } from '../net/address.ts';
import type { Prefix } from '../net/prefix.ts';
import { deleteMasquerade, mapOf, masqueradeBase, masqueradeElements, masqueradeTable } from '../plan/masquerade.ts';

const failedWith = (error: unknown, reason: CommandReason): boolean =>
  error instanceof CommandError && error.reason === reason;

/** Masquerades the addresses' traffic. The table and the prefix's chain are nearly always there, so they are made only on demand. */
export async function addMasquerade(kernel: Kernel, addresses: readonly Prefix[], label: string): Promise<void> {
  const elements = masqueradeElements(addresses, label);
  try {
    await kernel.nft(elements);
  } catch (error) {
    if (failedWith(error, 'exists')) {
      // an address that a network with another prefix left behind: its element sends elsewhere
      await deleteElements(
        kernel,
        addresses.map((p) => p.address),
      );
    } else if (!failedWith(error, 'not-found')) {
      throw error;
    }
    await kernel.nft(masqueradeBase(addresses) + elements);
  }
}

/** Deletes elements, all in one transaction or, when one of them is gone already, each by itself. */
async function deleteElements(kernel: Kernel, addresses: readonly Address[]): Promise<void> {
  if (addresses.length === 0) return;
  try {
    await kernel.nft(deleteMasquerade(addresses));
  } catch (error) {
    if (!failedWith(error, 'not-found')) throw error;
    if (addresses.length > 1) for (const address of addresses) await deleteElements(kernel, [address]);
  }
}

/** The comment of an address's element; undefined when it has none. */
async function commentOf(kernel: Kernel, address: Address): Promise<string | undefined> {
  try {
    const [family, table] = masqueradeTable.split(' ') as [string, string];
    const shown = await kernel.showNft([
      'get',
      'element',
      family,
      table,
      mapOf(address.family),
      `{ ${formatAddress(address)} }`,
    ]);
    return /comment "([^"]*)"/.exec(shown)?.[1] ?? '';
  } catch (error) {
    if (failedWith(error, 'not-found')) return undefined;
    throw error;
  }
}

/** The addresses among these whose element does not carry the mark: a CHECK's difference, with what stands there. */
export async function missingMasquerade(
  kernel: Kernel,
  addresses: readonly Address[],
  mark: string,
): Promise<{ address: Address; comment: string | undefined }[]> {
  const comments = await Promise.all(addresses.map((a) => commentOf(kernel, a)));
  return addresses.flatMap((address, i) => (comments[i]?.startsWith(mark) ? [] : [{ address, comment: comments[i] }]));
}

/** Removes what the attachment with this mark has. An element that has another owner by now stays. */
export async function removeMasquerade(kernel: Kernel, addresses: readonly Address[], mark: string): Promise<void> {
  const foreign = await missingMasquerade(kernel, addresses, mark);
  await deleteElements(
    kernel,
    addresses.filter((a) => !foreign.some((f) => f.address === a)),
  );
}

/** Removes the addresses' elements without looking: for one who holds their leases. */
export const removeOwnMasquerade = deleteElements;

/** Removes every element whose comment does not please. Reads the maps whole: for GC, never for ADD or DEL. */
export async function sweepMasquerade(kernel: Kernel, keep: (comment: string) => boolean): Promise<void> {
  const stale: Address[] = [];
  for (const family of families) {
    let shown = '';
    try {
      shown = await kernel.showNft(['list', 'map', ...masqueradeTable.split(' '), mapOf(family)]);
    } catch (error) {
      if (!failedWith(error, 'not-found')) throw error;
    }
    for (const [, text = '', comment = ''] of shown.matchAll(/([0-9a-f.:]+) comment "([^"]*)"/g)) {
      const address = parseAddress(text);
      if (address && !keep(comment)) stale.push(address);
    }
  }
  await deleteElements(kernel, stale);
}

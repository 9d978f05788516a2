/** Masquerade of attachments in the kernel: the elements of `plan/masquerade.ts` put there, taken away, checked and swept. */

import type { Kernel } from '../kernel/kernel.ts';
import { type Address, formatAddress, parseAddress } from '../net/address.ts';
import type { Prefix } from '../net/prefix.ts';
import {
  createMasquerade,
  deleteChains,
  deleteMasquerade,
  mapOf,
  masqueradeBase,
  masqueradeTable,
} from '../plan/masquerade.ts';
import { failedWith } from './nft.ts';

/**
 * Masquerades the addresses' traffic. The table and the prefix's chain are nearly always there, so unless this is known to be a
 * network's first pod they are made only when they are missed; an element that an earlier owner of the address left goes first.
 * (Deleting costs ten times what adding does: the kernel waits for its readers. So nothing is deleted on the off chance.)
 */
export async function addMasquerade(
  kernel: Kernel,
  addresses: readonly Prefix[],
  label: string,
  isFirst: boolean,
): Promise<void> {
  const elements = createMasquerade(addresses, label);
  const whole = masqueradeBase(addresses) + elements;
  try {
    await kernel.nft(isFirst ? whole : elements);
  } catch (error) {
    if (failedWith(error, 'exists')) {
      await deleteElements(
        kernel,
        addresses.map((p) => p.address),
      );
    } else if (!failedWith(error, 'not-found') || isFirst) {
      throw error;
    }
    await kernel.nft(whole);
  }
}

/** Deletes elements, all in one transaction or, when one of them is gone already, each by itself. */
async function deleteElements(kernel: Kernel, addresses: readonly Address[]): Promise<void> {
  if (addresses.length === 0) return;
  try {
    await kernel.nftInForce(deleteMasquerade(addresses).trimEnd().split('\n'));
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

/** Removes the addresses' elements without looking whose they are: for one who holds the addresses' leases. */
export const removeOwnMasquerade = deleteElements;

/**
 * Removes every element that does not please by its comment and address, and the chains that then nobody is sent to.
 * Reads the table whole: for GC, never for ADD or DEL.
 */
export async function sweepMasquerade(
  kernel: Kernel,
  keep: (comment: string, address: string) => boolean,
): Promise<void> {
  let shown: string;
  try {
    shown = await kernel.showNft(['list', 'table', ...masqueradeTable.split(' ')]);
  } catch (error) {
    if (failedWith(error, 'not-found')) return;
    throw error;
  }
  const elements = [...shown.matchAll(/([0-9a-f.:]+) comment "([^"]*)" : jump (\S+?),?\s/g)].map(
    ([, text = '', comment = '', chain = '']) => ({ text, address: parseAddress(text), comment, chain }),
  );
  const isKept = (e: (typeof elements)[number]): boolean => keep(e.comment, e.text);
  const [kept, stale] = [elements.filter(isKept), elements.filter((e) => !isKept(e))];
  const used = new Set(kept.map((e) => e.chain));
  const idle = [...shown.matchAll(/^\s*chain (to-\S+) /gm)].map(([, chain = '']) => chain).filter((c) => !used.has(c));
  const script = deleteMasquerade(stale.flatMap((e) => e.address ?? [])) + deleteChains(idle);
  try {
    if (script !== '') await kernel.nft(script);
  } catch (error) {
    // an ADD or DEL came between: the next GC finds what is left
    if (!failedWith(error, 'not-found') && !failedWith(error, 'busy')) throw error;
    await deleteElements(
      kernel,
      stale.flatMap((e) => e.address ?? []),
    );
  }
}

/** Forwarding of attachments in the kernel: the elements of `plan/firewall.ts` put there, taken away, checked and swept. */

import type { Kernel } from '../kernel/kernel.ts';
import {
  addressKey,
  bridgeFirewallTable,
  bridgeKeys,
  createFirewall,
  type Firewall,
  firewallBase,
  firewallTable,
} from '../plan/firewall.ts';
import { deleteElement, deleteElements, type Element, elementsOf, failedWith, showTable } from './nft.ts';

const readElements = async (kernel: Kernel): Promise<Element[]> => elementsOf(await showTable(kernel, firewallTable));

const hasMark = (mark: string) => (e: Element) => e.comment.split(' ')[0] === mark;

/**
 * Accepts the attachment's traffic. The tables are made only when they are missed; an element that an earlier owner of an
 * address left, or an earlier ADD, goes first.
 */
export async function addFirewall(kernel: Kernel, firewall: Firewall, label: string): Promise<void> {
  const elements = createFirewall(firewall, label);
  if (elements === '') return;
  try {
    try {
      await kernel.nft(elements);
    } catch (error) {
      if (!failedWith(error, 'not-found')) throw error;
      await kernel.nft(firewallBase() + elements);
    }
  } catch (error) {
    if (!failedWith(error, 'exists')) throw error;
    const wanted = firewall.addresses.map(addressKey);
    const inTheWay = (await readElements(kernel)).filter((e) => wanted.some((w) => w.set === e.set && w.key === e.key));
    await kernel.nft(inTheWay.map((e) => deleteElement(firewallTable, e)).join('') + firewallBase() + elements);
  }
}

/** Removes the addresses of the attachment with this mark. Its bridge keeps its policy, which is other pods' too. */
export async function removeFirewall(kernel: Kernel, mark: string): Promise<void> {
  await deleteElements(kernel, firewallTable, (await readElements(kernel)).filter(hasMark(mark)));
}

const bridgeName = (e: Element): string => e.key.split('"')[1] ?? '';

/** Removes every address whose comment does not please, and the policies of bridges that are gone. For GC. */
export async function sweepFirewall(kernel: Kernel, keep: (comment: string) => boolean): Promise<void> {
  const isGone = (e: Element) => kernel.readSysctl(`net/ipv4/conf/${bridgeName(e)}/forwarding`) === undefined;
  const isStale = (e: Element) => (e.comment === 'culvert' ? isGone(e) : !keep(e.comment));
  const ports = elementsOf(await showTable(kernel, bridgeFirewallTable));
  await deleteElements(kernel, firewallTable, (await readElements(kernel)).filter(isStale));
  await deleteElements(kernel, bridgeFirewallTable, ports.filter(isGone));
}

/** What of the attachment is not there as it should be, each with the comment that stands there. */
export async function missingFirewall(
  kernel: Kernel,
  firewall: Firewall,
  mark: string,
): Promise<{ set: string; key: string; comment: string | undefined }[]> {
  const found = await readElements(kernel);
  const at = (w: { set: string; key: string }) => found.find((e) => e.set === w.set && e.key === w.key);
  const addresses = firewall.addresses.map(addressKey).filter((w) => {
    const element = at(w);
    return !element || !hasMark(mark)(element);
  });
  const bridges = bridgeKeys(firewall).filter((w) => !at(w));
  return [...addresses, ...bridges].map((w) => ({ ...w, comment: at(w)?.comment }));
}

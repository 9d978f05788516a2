/** Forwarding of attachments in the kernel: the elements of `plan/firewall.ts` put there, taken away, checked and swept. */

import type { Kernel } from '../kernel/kernel.ts';
import {
  bridgeFirewallTable,
  bridgePlaces,
  createFirewall,
  type Firewall,
  firewallBase,
  firewallTable,
  ownPlaces,
  type Place,
  sharedLabel,
} from '../plan/firewall.ts';
import { deleteElement, deleteElements, type Element, elementsOf, failedWith, showTable } from './nft.ts';

/** What both tables hold. */
async function readElements(kernel: Kernel): Promise<Element[]> {
  const shown = await Promise.all([firewallTable, bridgeFirewallTable].map((table) => showTable(kernel, table)));
  return shown.flatMap(elementsOf);
}

const hasMark = (mark: string) => (e: Element) => e.comment.split(' ')[0] === mark;

const isAt = (a: Place, b: Place): boolean => a.table === b.table && a.set === b.set && a.key === b.key;

/**
 * Accepts the attachment's traffic. The tables are made only when they are missed; an element that an earlier owner of an
 * address left, or an earlier ADD, goes first.
 */
export async function addFirewall(kernel: Kernel, firewall: Firewall, label: string): Promise<void> {
  const elements = createFirewall(firewall, label);
  const base = firewallBase(firewall.policy);
  if (elements === '') return;
  try {
    try {
      await kernel.nft(elements);
    } catch (error) {
      if (!failedWith(error, 'not-found')) throw error;
      await kernel.nft(base + elements);
    }
  } catch (error) {
    if (!failedWith(error, 'exists')) throw error;
    const own = ownPlaces(firewall);
    const inTheWay = (await readElements(kernel)).filter((e) => own.some((place) => isAt(e, place)));
    await kernel.nft(inTheWay.map(deleteElement).join('') + base + elements);
  }
}

/** Removes what the attachment with this mark has. Its bridge keeps its policy, which is other pods' too. */
export async function removeFirewall(kernel: Kernel, mark: string): Promise<void> {
  await deleteElements(kernel, (await readElements(kernel)).filter(hasMark(mark)));
}

/** Removes every element that does not please by its comment and its address or port, and the policies of bridges that are gone. For GC. */
export async function sweepFirewall(kernel: Kernel, keep: (comment: string, key: string) => boolean): Promise<void> {
  const isGone = ({ key }: Element) => kernel.readSysctl(`net/ipv4/conf/${key.split('"')[1]}/forwarding`) === undefined;
  const isStale = (e: Element) => (e.comment === sharedLabel ? isGone(e) : !keep(e.comment, e.key));
  await deleteElements(kernel, (await readElements(kernel)).filter(isStale));
}

/** What of the attachment is not there as it should be, each with the comment that stands there. */
export async function missingFirewall(
  kernel: Kernel,
  firewall: Firewall,
  mark: string,
): Promise<(Place & { comment: string | undefined })[]> {
  const found = await readElements(kernel);
  const at = (place: Place) => found.find((e) => isAt(e, place));
  const own = ownPlaces(firewall).filter((place) => !found.some((e) => isAt(e, place) && hasMark(mark)(e)));
  const shared = bridgePlaces(firewall).filter((place) => !at(place));
  return [...own, ...shared].map((place) => ({ ...place, comment: at(place)?.comment }));
}

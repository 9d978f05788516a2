/** What every table of ours asks of nft: why a transaction failed, and what a table holds. */

import { CommandError, type CommandReason } from '../errors.ts';
import type { Kernel } from '../kernel/kernel.ts';

export const failedWith = (error: unknown, reason: CommandReason): boolean =>
  error instanceof CommandError && error.reason === reason;

/** The table as nft prints it, protocols as numbers; empty when there is no such table. */
export async function showTable(kernel: Kernel, table: string): Promise<string> {
  try {
    return await kernel.showTable(table);
  } catch (error) {
    if (failedWith(error, 'not-found')) return '';
    throw error;
  }
}

/** An element with a comment, as a table shows it. */
export interface Element {
  /** "inet culvert_portmap". */
  readonly table: string;
  /** The set or map that holds it. */
  readonly set: string;
  readonly key: string;
  readonly comment: string;
  /** What a map answers for it; empty in a set. */
  readonly value: string;
}

/** Every commented element of a table's sets and maps. */
export function elementsOf(shown: string): Element[] {
  const table = /^table (\S+ \S+) /m.exec(shown)?.[1] ?? '';
  return shown.split(/^\t(?=map|set|chain)/m).flatMap((block) => {
    const set = /^(?:map|set) (\S+) /.exec(block)?.[1];
    if (set === undefined) return [];
    const found = block.matchAll(/([^\s{,][^{,]*?) comment "([^"]*)"(?: : ([^,}\n]+?))?(?=,| }|\n)/g);
    return [...found].map(([, key = '', comment = '', value = '']) => ({ table, set, key, comment, value }));
  });
}

export const deleteElement = ({ table, set, key }: Element): string => `delete element ${table} ${set} { ${key} }\n`;

/** Deletes elements, all in one transaction or, when one of them is gone already, each by itself. */
export async function deleteElements(kernel: Kernel, elements: readonly Element[]): Promise<void> {
  if (elements.length === 0) return;
  try {
    await kernel.nftInForce(elements.map((element) => deleteElement(element).trimEnd()));
  } catch (error) {
    if (!failedWith(error, 'not-found')) throw error;
    if (elements.length > 1) for (const element of elements) await deleteElements(kernel, [element]);
  }
}

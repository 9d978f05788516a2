/** Host ports in the kernel: the elements of `plan/portmap.ts` put there, taken away, checked and swept. */

import { StoreError } from '../errors.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { Machine } from '../kernel/machine.ts';
import { familyOf } from '../net/address.ts';
import {
  createPortmap,
  isForward,
  type Portmap,
  type PortmapElement,
  portmapBase,
  portmapElements,
  portmapTable,
  protocols,
} from '../plan/portmap.ts';
import { type Flow, forgetConnections } from './conntrack.ts';
import { deleteElement, deleteElements, type Element, elementsOf, failedWith, showTable } from './nft.ts';

const readElements = async (kernel: Kernel): Promise<Element[]> => elementsOf(await showTable(kernel, portmapTable));

const isAt = (a: Pick<Element, 'set' | 'key'>, b: Pick<Element, 'set' | 'key'>): boolean =>
  a.set === b.set && a.key === b.key;

/** "192.0.2.1 . 6 . 8080" → its parts; of no host address when it is a mapping of any. */
function parseKey(key: string): { host: string | undefined; protocol: string; port: number } {
  const parts = key.split(' . ');
  const [number, port] = parts.slice(-2).map(Number);
  const protocol = Object.entries(protocols).find(([, n]) => n === number)?.[0] ?? String(number);
  return { host: parts.at(-3), protocol, port: port ?? 0 };
}

/** A mapping's host side as people write it: "192.0.2.1:8080/tcp", "8080/udp". */
export function formatKey(key: string): string {
  const { host, protocol, port } = parseKey(key);
  const before = host?.includes(':') ? `[${host}]:` : host ? `${host}:` : '';
  return `${before}${port}/${protocol}`;
}

/** A label without its mark: network, container id and interface name. */
const ownerOf = (comment: string): string => comment.split(' ').slice(1).join(' ') || comment;

const hasMark = (mark: string) => (e: Element) => e.comment.split(' ')[0] === mark;

/**
 * Has the mappings forwarded: one transaction, all or nothing. The table and its chains are nearly always there, so they are
 * made only when they are missed; an element that an earlier owner of the container's address left, or an earlier ADD of the
 * same attachment, goes first. Throws StoreError `taken` that names who has the port.
 */
export async function addPortmap(kernel: Kernel, portmap: Portmap, label: string, mark: string): Promise<void> {
  const elements = createPortmap(portmap, label);
  const whole = portmapBase(portmap) + elements;
  try {
    try {
      await kernel.nft(elements);
    } catch (error) {
      if (!failedWith(error, 'not-found')) throw error;
      await kernel.nft(whole);
    }
  } catch (error) {
    if (!failedWith(error, 'exists')) throw error;
    const wanted = portmapElements(portmap);
    const inTheWay = (await readElements(kernel)).filter((e) => wanted.some((w) => isAt(e, w)));
    refuseTaken(inTheWay.filter((e) => isForward(e) && !hasMark(mark)(e)));
    const [table, ...base] = portmapBase(portmap).split('\n');
    await kernel.nft([table, ...inTheWay.map((e) => deleteElement(e).trim()), ...base, elements].join('\n'));
  }
}

function refuseTaken(foreign: readonly Element[]): void {
  if (foreign.length === 0) return;
  const taken = foreign.map((e) => `host port ${formatKey(e.key)} is taken by "${ownerOf(e.comment)}"`);
  throw new StoreError(
    'taken',
    `${taken.join('; ')} (network, container, interface): choose another hostPort or hostIP, or detach that container first`,
  );
}

const flowOf = ({ key, value }: Element): Flow => {
  const { host, protocol, port } = parseKey(key);
  const dnat = value.split(' . ')[0] ?? '';
  return { family: familyOf(dnat), protocol, port, to: host, dnat };
};

/** Deletes the elements that match, then the connections of the mappings among them. Answers what stays. */
async function remove(machine: Machine, doomed: (e: Element) => boolean): Promise<void> {
  const elements = (await readElements(machine.kernel)).filter(doomed);
  await deleteElements(machine.kernel, elements);
  await forgetConnections(machine, elements.filter(isForward).map(flowOf));
}

/** Removes what the attachment with this mark has, whatever its mappings were. */
export const removePortmap = (machine: Machine, mark: string): Promise<void> => remove(machine, hasMark(mark));

/** The container's address: where a mapping leads to, or what is masqueraded. */
const containerOf = (e: Element): string => (isForward(e) ? e.value : e.key).split(' . ')[0] ?? '';

/**
 * Removes every element that does not please by its comment and its container's address, and the source chains that then nobody
 * is sent to. For GC.
 */
export async function sweepPortmap(
  machine: Machine,
  keep: (comment: string, address: string) => boolean,
): Promise<void> {
  const { kernel } = machine;
  await remove(machine, (e) => !keep(e.comment, containerOf(e)));
  const shown = await showTable(kernel, portmapTable);
  const used = new Set(elementsOf(shown).map((e) => e.value));
  const chains = [...shown.matchAll(/^\tchain (from-\S+) /gm)].map(([, name = '']) => name);
  for (const name of chains.filter((c) => !used.has(`jump ${c}`))) {
    await kernel.nft(`delete chain ${portmapTable} ${name}\n`).catch((error: unknown) => {
      // an ADD came between, or another GC
      if (!failedWith(error, 'busy') && !failedWith(error, 'not-found')) throw error;
    });
  }
}

/** The attachment's elements that are not there as they should be, each with what stands there. */
export async function missingPortmap(
  kernel: Kernel,
  portmap: Portmap,
  mark: string,
): Promise<{ want: PortmapElement; got: Element | undefined }[]> {
  const found = await readElements(kernel);
  return portmapElements(portmap).flatMap((want) => {
    const got = found.find((e) => isAt(e, want));
    return got && got.value === want.value && hasMark(mark)(got) ? [] : [{ want, got }];
  });
}

/** `ipMasq` of an attachment, whichever plugin made it: begun with ADD, ended with DEL, looked after by CHECK. */

import { readLink } from '../../src/apply/check.ts';
import { addMasquerade, missingMasquerade, removeMasquerade, removeOwnMasquerade } from '../../src/apply/masquerade.ts';
import type { UndoStack } from '../../src/apply/undo.ts';
import { readPrevResult } from '../../src/cni/conf.ts';
import type { Request, Result } from '../../src/cni/types.ts';
import { show } from '../../src/decode.ts';
import type { Problem } from '../../src/errors.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import { netnsState } from '../../src/kernel/netns.ts';
import { type Address, formatAddress, isGlobalUnicast } from '../../src/net/address.ts';
import { attachmentLabel, attachmentMark, hostVethName } from '../../src/net/name.ts';
import { type Prefix, parsePrefix } from '../../src/net/prefix.ts';
import { heldAddresses, hostLocal } from '../host-local.ts';
import { idOf } from './veth.ts';

/** Runs beside the links, needing only the addresses. `isFirst`: the network has no pod yet, so the table is probably not there. */
export async function beginMasquerade(
  request: Request,
  prefixes: readonly Prefix[],
  kernel: Kernel,
  undo: UndoStack,
  isFirst: () => boolean,
): Promise<void> {
  if (prefixes.length === 0) return;
  const id = idOf(request);
  const addresses = prefixes.map((p) => p.address);
  undo.push(() => removeMasquerade(kernel, addresses, attachmentMark(id)));
  await addMasquerade(kernel, prefixes, attachmentLabel(id), isFirst());
}

/** The addresses the attachment had: what the runtime remembers, else what the container's link has. */
async function rememberedAddresses(request: Request, machine: Machine): Promise<Address[]> {
  try {
    const previous = readPrevResult(request.conf, request.cniVersion);
    if (previous) return previous.ips.map((ip) => ip.address.address);
  } catch (error) {
    machine.warn(`prevResult is left aside: ${(error as Error).message}`);
  }
  if (netnsState(request.netns) !== 'namespace') return [];
  const found = await readLink(machine.kernel, request.ifname, request.netns).catch((error: Error) => {
    machine.warn(`the container's addresses are not known: ${error.message}`);
    return undefined;
  });
  return (found?.state.addresses ?? []).flatMap((a) => parsePrefix(a.address)?.address ?? []).filter(isGlobalUnicast);
}

/**
 * How to end it, found out before anything of the attachment goes. Who holds the addresses' leases need not look whose masquerade
 * it is; without a lease it may be another pod's by now.
 */
export async function masqueradeOf(
  request: Request,
  machine: Machine,
  type: string | undefined,
): Promise<() => Promise<void>> {
  const { kernel } = machine;
  const leased = type === hostLocal.name ? heldAddresses(request) : [];
  if (leased.length > 0) return () => removeOwnMasquerade(kernel, leased);
  const addresses = await rememberedAddresses(request, machine);
  return () => removeMasquerade(kernel, addresses, attachmentMark(idOf(request)));
}

/** What is missing of it. A pod that another suite attached has it in that suite's tables, not in ours. */
export async function masqueradeProblems(request: Request, previous: Result, kernel: Kernel): Promise<Problem[]> {
  const id = idOf(request);
  if (!previous.interfaces.some((i) => i.name === hostVethName(id))) return [];
  const addresses = previous.ips.map((ip) => ip.address.address);
  const missing = await missingMasquerade(kernel, addresses, attachmentMark(id));
  return missing.map(({ address, comment }) => ({
    path: `masquerade of ${formatAddress(address)}`,
    got: comment === undefined ? 'nothing' : show(comment),
    want: show(attachmentLabel(id)),
  }));
}

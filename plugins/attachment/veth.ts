/** What the plugins that attach a container do alike, whatever its link is made of. */

import { apply } from '../../src/apply/apply.ts';
import type { UndoStack } from '../../src/apply/undo.ts';
import { code } from '../../src/cni/error.ts';
import { openIpam } from '../../src/cni/ipam.ts';
import type { Request, Result } from '../../src/cni/types.ts';
import { CniError } from '../../src/errors.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import type { AttachmentId } from '../../src/net/name.ts';
import { diff } from '../../src/plan/diff.ts';
import { emptyState, type LinkState, mergeStates, type NamespaceState } from '../../src/plan/host.ts';
import { ipamPlugins } from '../ipam-plugins.ts';

export const idOf = (r: Request): AttachmentId => ({ network: r.name, containerId: r.containerId, ifname: r.ifname });

/** A flag of a configuration that need not be right any more: DEL works with what it can read. */
export const hasFlag = (request: Request, key: string): boolean => request.conf[key] === true;

/** The programs of an ADD start now and wait for their orders, while the addresses are being found. */
export const standBy = (request: Request, kernel: Kernel, { ipMasq }: { ipMasq: boolean }): void =>
  kernel.standBy(['ip', 'container', ...(ipMasq ? (['nft -f'] as const) : [])], request.netns);

/** ADD of the IPAM plugin, to be undone with the rest. Throws CniError 7 when it answers without an address. */
export async function obtainAddresses(
  type: string,
  request: Request,
  machine: Machine,
  undo: UndoStack,
): Promise<Result> {
  const ipam = openIpam(type, request, machine, ipamPlugins);
  const answer = await ipam.add();
  undo.push(() => ipam.undo());
  if (answer.ips.length > 0) return answer;
  throw new CniError(
    code.invalidConfig,
    `IPAM plugin "${type}" returned missing IP config`,
    'it answered without an address',
  );
}

/** The request's own verb for the IPAM plugin. */
export const forward = async (type: string, request: Request, machine: Machine): Promise<void> =>
  openIpam(type, request, machine, ipamPlugins).forward();

/**
 * The container's end is there, down and without addresses: the rest is the difference. `expected` is what the kernel will have
 * added by itself when the addresses are on it.
 */
export function applyPod(
  request: Request,
  share: Partial<NamespaceState>,
  kernel: Kernel,
  expected: Partial<NamespaceState> = {},
): Promise<void> {
  const fresh: LinkState = { name: request.ifname, make: { kind: 'given' }, up: false };
  return apply(diff({ ...emptyState(), ...expected, links: [fresh] }, mergeStates(share)), kernel, request.netns);
}

/** How an attachment by a veth pair ends: by DEL, or by a GC that no longer lists it. */

import { sweepMasquerade } from '../../src/apply/masquerade.ts';
import { forgetReference } from '../../src/apply/other-suite.ts';
import { settle } from '../../src/apply/settle.ts';
import { removeVeth, sweepVeths } from '../../src/apply/veth.ts';
import { readValidAttachments } from '../../src/cni/conf.ts';
import { ipamType } from '../../src/cni/ipam.ts';
import type { Request } from '../../src/cni/types.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import { hostVethName, labelKeeper } from '../../src/net/name.ts';
import { masqueradeOf } from './masquerade.ts';
import { forward, hasFlag, idOf } from './veth.ts';

async function removeLinks(request: Request, { kernel, exec }: Machine): Promise<void> {
  const id = idOf(request);
  const maker = await removeVeth(kernel, hostVethName(id), request.netns, request.ifname);
  if (maker === 'foreign' && hasFlag(request, 'ipMasq')) await forgetReference(exec, id);
}

/**
 * DEL: removes what is there; what is not is fine. `more` is the plugin's own step on the host. Every step is tried before a
 * failure is reported.
 */
export async function removeAttachment(
  request: Request,
  machine: Machine,
  more: () => Promise<void> | undefined = () => undefined,
): Promise<void> {
  const type = ipamType(request);
  if (hasFlag(request, 'ipMasq')) machine.kernel.standBy(['nft -i', 'ip']);
  // asked for before the container's end goes: its addresses may be known from there alone
  const endMasquerade = hasFlag(request, 'ipMasq') ? await masqueradeOf(request, machine, type) : undefined;
  // first what takes longest: nft ends only when the kernel has waited for the packets under way
  const onHost = settle([endMasquerade?.(), removeLinks(request, machine), more()]);
  // the address is given back only when nothing here answers for it any more
  await onHost.catch(() => {});
  await settle([onHost, type ? forward(type, request, machine) : undefined]);
}

/** GC: frees what belongs to attachments that are not in the list any more: leases, host ends, masquerade, `more`. */
export async function collect(
  request: Request,
  machine: Machine,
  more: (keep: (label: string) => boolean) => Promise<void> | undefined = () => undefined,
): Promise<void> {
  const valid = readValidAttachments(request.conf).map((v) => ({ network: request.name, ...v }));
  const keep = labelKeeper(request.name, valid);
  const type = ipamType(request);
  const { kernel } = machine;
  await settle([
    sweepVeths(kernel, request.name, valid),
    sweepMasquerade(kernel, keep),
    more(keep),
    type ? forward(type, request, machine) : undefined,
  ]);
}

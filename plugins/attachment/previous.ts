/** prevResult on DEL, which need not be there and need not be right. */

import { readPrevResult } from '../../src/cni/conf.ts';
import type { Request, Result } from '../../src/cni/types.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import { hostVethName } from '../../src/net/name.ts';
import { idOf } from './veth.ts';

/** What the runtime remembers of the attachment; undefined when that cannot be read. */
export function previousOf(request: Request, { warn }: Machine): Result | undefined {
  try {
    return readPrevResult(request.conf, request.cniVersion);
  } catch (error) {
    warn(`prevResult is left aside: ${(error as Error).message}`);
    return undefined;
  }
}

/** The same where another suite's plugin made the pair: it left more than we know of. To find out costs no program. */
export function foreignResult(request: Request, machine: Machine): Result | undefined {
  const previous = previousOf(request, machine);
  const ends = (previous?.interfaces ?? []).filter((i) => !i.sandbox && i.name.startsWith('veth'));
  const own = hostVethName(idOf(request));
  return ends.length > 0 && !ends.some((end) => end.name === own) ? previous : undefined;
}

/** The elements of `plan/macspoofchk.ts` in the kernel. */

import { CommandError } from '../errors.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { releasePort, spoofTable } from '../plan/macspoofchk.ts';

/** Removes the ports that match; reads the set of guarded MACs, which has one element per guarded pod. */
export async function removeGuards(kernel: Kernel, doomed: (port: string, label: string) => boolean): Promise<void> {
  let shown: string;
  try {
    shown = await kernel.showNft(['list', 'set', ...spoofTable.split(' '), 'allowed']);
  } catch (error) {
    if (error instanceof CommandError && error.reason === 'not-found') return;
    throw error;
  }
  const script = [...shown.matchAll(/"([^"]+)" \. ([0-9a-f:]{17}) comment "([^"]*)"/g)]
    .filter(([, port = '', , label = '']) => doomed(port, label))
    .map(([, port = '', mac = '']) => releasePort(port, [mac]));
  if (script.length > 0) await kernel.nft(script.join(''));
}

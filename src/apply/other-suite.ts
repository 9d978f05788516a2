/**
 * What the reference plugins left for a container that they attached and that we detach, so that a node can change suites with
 * its pods running: their masquerade, which is an iptables chain per container, or rules with a comment in an nft table.
 * Looked for only when a container's link is not of our making.
 */

import { CommandError } from '../errors.ts';
import type { Exec } from '../kernel/exec.ts';
import type { AttachmentId } from '../net/name.ts';

/** An absent table, chain or program: they left nothing of that kind. */
async function orNothing(reading: Promise<string>): Promise<string> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof CommandError) return '';
    throw error;
  }
}

/** Removes their masquerade of an attachment. */
export async function forgetReference(exec: Exec, id: AttachmentId): Promise<void> {
  await Promise.all([forgetRules(exec, id), forgetChain(exec, 'iptables', id), forgetChain(exec, 'ip6tables', id)]);
}

/** Their rules in `inet cni_plugins_masquerade`, found by the end of their comment. */
async function forgetRules(exec: Exec, { network, ifname, containerId }: AttachmentId): Promise<void> {
  const chain = 'inet cni_plugins_masquerade masq_checks';
  const shown = await orNothing(exec(['nft', '-a', 'list', 'chain', ...chain.split(' ')]));
  const comment = `, net: ${network}, if: ${ifname}, id: ${containerId}`.slice(0, 128 - 33);
  const handles = shown
    .split('\n')
    .filter((line) => line.includes(comment))
    .flatMap((line) => /# handle (\d+)$/.exec(line)?.[1] ?? []);
  const script = handles.map((handle) => `delete rule ${chain} handle ${handle}\n`).join('');
  if (script !== '') await exec(['nft', '-f', '-'], { stdin: script });
}

/** The hash in names of the reference plugins, loaded when one is needed: hardly ever. */
export const referenceHash = (seed: string): string =>
  process.getBuiltinModule('node:crypto').createHash('sha512').update(seed).digest('hex');

/** Their chain in the nat table, named by a hash, and the rules that lead to it. */
async function forgetChain(exec: Exec, program: 'iptables' | 'ip6tables', id: AttachmentId): Promise<void> {
  const chain = `CNI-${referenceHash(`${id.network}${id.containerId}`)}`.slice(0, 28);
  const shown = await orNothing(exec([program, '-w', '-t', 'nat', '-S']));
  if (!shown.includes(`-N ${chain}\n`)) return;
  const jumps = shown.split('\n').filter((line) => line.startsWith('-A ') && line.endsWith(`-j ${chain}`));
  const lines = [
    '*nat',
    ...jumps.map((line) => line.replace('-A ', '-D ')),
    `-F ${chain}`,
    `-X ${chain}`,
    'COMMIT',
    '',
  ];
  await exec([`${program}-restore`, '-w', '--noflush'], { stdin: lines.join('\n') });
}

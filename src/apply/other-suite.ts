/**
 * What the reference plugins left for a container that they attached and that we detach, so that a node can change suites with
 * its pods running: chains and rules of iptables, or rules with a comment in tables of nft. Looked for only when a container's
 * link is not of our making.
 */

import { CommandError } from '../errors.ts';
import type { Exec } from '../kernel/exec.ts';
import { type Address, formatAddress } from '../net/address.ts';
import type { AttachmentId } from '../net/name.ts';
import { hostPrefix } from '../net/prefix.ts';

const programs = ['iptables', 'ip6tables'] as const;
type Program = (typeof programs)[number];

/** An absent table, chain or program: they left nothing of that kind. */
async function orNothing(reading: Promise<string>): Promise<string> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof CommandError) return '';
    throw error;
  }
}

/** Removes their masquerade of an attachment: its rules have a comment that ends with it. */
export async function forgetMasquerade(exec: Exec, id: AttachmentId): Promise<void> {
  const comment = `, net: ${id.network}, if: ${id.ifname}, id: ${id.containerId}`.slice(0, 128 - 33);
  await Promise.all([
    forgetRules(exec, 'inet cni_plugins_masquerade', comment),
    ...programs.map((program) => forgetChain(exec, program, chainOf(id, 'CNI-'))),
  ]);
}

/** Removes their host ports of an attachment: their comment is the container's id. */
export async function forgetPortmap(exec: Exec, id: AttachmentId): Promise<void> {
  await Promise.all([
    ...['ip', 'ip6'].map((family) => forgetRules(exec, `${family} cni_hostport`, `comment "${id.containerId}"`)),
    ...programs.map((program) => forgetChain(exec, program, chainOf(id, 'CNI-DN-'))),
  ]);
}

/** Removes what their firewall accepts for these addresses: it keeps nothing else of a container. */
export async function forgetFirewall(exec: Exec, addresses: readonly Address[]): Promise<void> {
  const prefixes = addresses.map((a) => ` ${formatAddress(a)}/${hostPrefix(a).length} `);
  await Promise.all(
    programs.map(async (program) => {
      const shown = await orNothing(exec([program, '-w', '-S', 'CNI-FORWARD']));
      const rules = shown.split('\n').filter((line) => /^-A .* -j ACCEPT$/.test(line));
      const doomed = rules.filter((rule) => prefixes.some((prefix) => rule.includes(prefix)));
      if (doomed.length > 0) await restore(exec, program, 'filter', doomed.map(deletion));
    }),
  );
}

/** Their rules in a table of nft, found by a part of the line. */
async function forgetRules(exec: Exec, table: string, part: string): Promise<void> {
  const shown = await orNothing(exec(['nft', '-a', 'list', 'table', ...table.split(' ')]));
  let chain = '';
  let script = '';
  for (const line of shown.split('\n')) {
    chain = /^\tchain (\S+) /.exec(line)?.[1] ?? chain;
    const handle = line.includes(part) ? /# handle (\d+)$/.exec(line)?.[1] : undefined;
    if (handle) script += `delete rule ${table} ${chain} handle ${handle}\n`;
  }
  if (script !== '') await exec(['nft', '-f', '-'], { stdin: script });
}

/** The hash in names of the reference plugins, loaded when one is needed: hardly ever. */
export const referenceHash = (seed: string): string =>
  process.getBuiltinModule('node:crypto').createHash('sha512').update(seed).digest('hex');

/** The chain that they name by a hash of the attachment. */
const chainOf = ({ network, containerId }: AttachmentId, prefix: string): string =>
  `${prefix}${referenceHash(`${network}${containerId}`)}`.slice(0, 28);

const deletion = (rule: string): string => rule.replace('-A ', '-D ');

const restore = (exec: Exec, program: Program, table: string, lines: readonly string[]): Promise<string> =>
  exec([`${program}-restore`, '-w', '--noflush'], { stdin: [`*${table}`, ...lines, 'COMMIT', ''].join('\n') });

/** A chain in the nat table, and the rules that lead to it. */
async function forgetChain(exec: Exec, program: Program, chain: string): Promise<void> {
  const shown = await orNothing(exec([program, '-w', '-t', 'nat', '-S']));
  if (!shown.includes(`-N ${chain}\n`)) return;
  const jumps = shown.split('\n').filter((line) => line.startsWith('-A ') && line.endsWith(`-j ${chain}`));
  await restore(exec, program, 'nat', [...jumps.map(deletion), `-F ${chain}`, `-X ${chain}`]);
}

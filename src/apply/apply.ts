/** Changes → the kernel: rendered by `plan/render.ts`, run in as few processes as their order allows. */

import type { Kernel } from '../kernel/kernel.ts';
import type { Change } from '../plan/diff.ts';
import { type Line, render } from '../plan/render.ts';

const textsOf = (lines: readonly Line[], program: Line['program']): string[] =>
  lines.filter((l) => l.program === program).map((l) => l.text);

/** Sysctls of a link that these very changes make cannot be written before them. */
function isLate(change: Change, made: ReadonlySet<string>): boolean {
  return change.op === 'set-sysctl' && change.sysctl.key.split('/').some((part) => made.has(part));
}

const replaceTables = (script: string, kernel: Kernel, netns?: string): Promise<void> =>
  netns ? kernel.nft(script, netns) : kernel.nftInForce(script.split('\n').filter((line) => line !== ''));

/**
 * Makes the changes in one namespace. A change that fails stops those after it and throws CommandError; what was done stays
 * done (every change can be repeated), and the caller reads again.
 */
export async function apply(changes: readonly Change[], kernel: Kernel, netns?: string): Promise<void> {
  if (changes.length === 0) return;
  const made = new Set(changes.flatMap((c) => (c.op === 'add-link' ? [c.link.name] : [])));
  const sysctls = changes.flatMap((c) => (c.op === 'set-sysctl' ? [{ sysctl: c.sysctl, late: isLate(c, made) }] : []));
  const early = sysctls.filter((s) => !s.late).map((s) => s.sysctl);
  const tables = changes.filter((c) => c.op === 'replace-table').flatMap(render);
  const doomed = changes.filter((c) => c.op === 'delete-table').flatMap(render);
  // what routes lead to is let through when they lead there; what is made before them has no need to wait
  const tabled = tables.length > 0 ? replaceTables(textsOf(tables, 'nft').join(''), kernel, netns) : Promise.resolve();
  tabled.catch(() => {}); // thrown where it is awaited

  // ip comes first, if only for its sysctls; then the order of the changes stands, and what follows each other in one program is one batch
  const runs: { program: Line['program']; texts: string[] }[] = [{ program: 'ip', texts: [] }];
  for (const { program, text } of changes.flatMap(render)) {
    if (program === 'sysctl' || program === 'nft') continue;
    if (runs.at(-1)!.program !== program) runs.push({ program, texts: [] });
    runs.at(-1)!.texts.push(text);
  }
  for (const [i, { program, texts }] of runs.entries()) {
    if (program.startsWith('ip') && texts.length > 0) await tabled;
    if (program === 'bridge') await kernel.bridge(texts, netns);
    else if (program === 'wg') await kernel.wg(texts);
    else if (program === 'ethtool') await kernel.ethtool(texts);
    else await kernel.ip(texts, netns, i === 0 ? early : [], program === 'ip -6' ? 6 : undefined);
  }
  await tabled;
  for (const { sysctl, late } of sysctls) if (late) kernel.writeSysctl(sysctl);
  if (doomed.length > 0) await kernel.nft(textsOf(doomed, 'nft').join(''), netns);
}

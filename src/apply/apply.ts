/** Changes → the kernel: rendered by `plan/render.ts`, run in as few processes as their order allows. */

import type { Kernel } from '../kernel/kernel.ts';
import type { Change } from '../plan/diff.ts';
import { type Line, render } from '../plan/render.ts';

const textsOf = (lines: readonly Line[], program: Line['program']): string[] =>
  lines.filter((l) => l.program === program).map((l) => l.text);

/** Links and their addresses have to be there before bridge can name them; everything else comes after. */
const isGround = (change: Change): boolean => ['add-link', 'set-link', 'add-address'].includes(change.op);

/** Sysctls of a link that these very changes make cannot be written before them. */
function isLate(change: Change, made: ReadonlySet<string>): boolean {
  return change.op === 'set-sysctl' && change.sysctl.key.split('/').some((part) => made.has(part));
}

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
  if (tables.length > 0) await kernel.nft(textsOf(tables, 'nft').join(''), netns);

  const lines = changes.flatMap((change) => render(change).map((line) => ({ ...line, ground: isGround(change) })));
  const bridge = textsOf(lines, 'bridge');
  if (bridge.length === 0) {
    await kernel.ip(textsOf(lines, 'ip'), netns, early);
  } else {
    // a link that is made anew is deleted before it is added: up to the last ground line the order stands
    const last = lines.findLastIndex((l) => l.ground);
    await kernel.ip(textsOf(lines.slice(0, last + 1), 'ip'), netns, early);
    await kernel.bridge(bridge, netns);
    await kernel.ip(textsOf(lines.slice(last + 1), 'ip'), netns);
  }
  const ip6 = textsOf(lines, 'ip -6');
  if (ip6.length > 0) await kernel.ip(ip6, netns, [], 6);
  for (const { sysctl, late } of sysctls) if (late) kernel.writeSysctl(sysctl);
  if (doomed.length > 0) await kernel.nft(textsOf(doomed, 'nft').join(''), netns);
}

/** What `culvert plan` says of BIRD: the lines of its configuration that go and come, and what it would be told. */

import { existsSync, readFileSync } from 'node:fs';
import { BirdControl, type BirdFiles, birdArgv, flushArgvs } from '../kernel/bird.ts';
import { birdMetric } from '../plan/bgp.ts';

/** The configuration's blocks by their first lines, which name them. */
const blocksOf = (text: string): Map<string, string[]> =>
  new Map(
    text
      .split('\n\n')
      .filter((b) => b.trim() !== '')
      .map((b) => b.trimEnd().split('\n'))
      .map((lines): [string, string[]] => [lines[0]!, lines]),
  );

/** Blocks that differ, each with its first line and then the lines that only one of the texts has there; whole where it is new or gone. */
export function diffBlocks(before: string, after: string): string[] {
  const [old, next] = [blocksOf(before), blocksOf(after)];
  return [...new Set([...old.keys(), ...next.keys()])].flatMap((head) => {
    const [was, is] = [old.get(head), next.get(head)];
    if (!is) return was!.map((l) => `- ${l}`);
    if (!was) return is.map((l) => `+ ${l}`);
    const [gone, come] = [was.filter((l) => !is.includes(l)), is.filter((l) => !was.includes(l))];
    if (gone.length + come.length === 0) return [];
    return [`  ${head}`, ...gone.map((l) => `- ${l}`), ...come.map((l) => `+ ${l}`)];
  });
}

/** Lines for a shell; none when BIRD runs with this configuration, or neither runs nor should. */
export async function birdLines(wanted: string | undefined, files: BirdFiles): Promise<string[]> {
  const control = existsSync(files.socket) ? await BirdControl.open(files.socket, () => {}) : undefined;
  control?.close();
  if (wanted === undefined) {
    return control
      ? [`birdc -s ${files.socket} graceful restart`, ...flushArgvs(birdMetric).map((argv) => argv.join(' '))]
      : [];
  }
  const before = existsSync(files.configuration) ? readFileSync(files.configuration, 'utf8') : '';
  const changed = diffBlocks(before, wanted).map((l) => `# ${l}`);
  const head = changed.length > 0 ? [`# ${files.configuration}`, ...changed] : [];
  if (!control) return [...head, birdArgv(files, false).join(' ')];
  return changed.length > 0 ? [...head, `birdc -s ${files.socket} configure`] : [];
}

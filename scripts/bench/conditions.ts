/** Under which conditions the figures came about: without them they say nothing. */

import { spawnSync } from 'node:child_process';
import { cpus, loadavg, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Bench } from './section.ts';
import type { Suite } from './suite.ts';

const answer = (...argv: string[]): string | undefined => {
  const r = spawnSync(argv[0]!, argv.slice(1), { encoding: 'utf8' });
  return r.status === 0 ? r.stdout.trim() : undefined;
};

/** What is known of a reference's version: its package's, else the newest CNI version that it speaks. */
function versionOf({ dir }: Suite): string {
  const owner = answer('dpkg-query', '-S', join(dir, 'bridge'))?.split(':')[0];
  const installed = owner && answer('dpkg-query', '-W', '-f', '${Package} ${Version}', owner);
  if (installed) return installed;
  const r = spawnSync(join(dir, 'bridge'), [], {
    encoding: 'utf8',
    input: '{"cniVersion":"1.0.0"}',
    env: { CNI_COMMAND: 'VERSION' },
  });
  return `speaks CNI ${/"([0-9.]+)"\]/.exec(r.stdout)?.[1] ?? 'of unknown version'}`;
}

/** What holds for all figures of a run. */
export function conditionsOf(bench: Bench): Record<string, string> {
  const references = bench.suites.slice(1).map((s) => [s.label, versionOf(s)]);
  return {
    kernel: `${process.platform} ${release()} ${process.arch}`,
    processors: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`,
    'load average at start': loadavg()
      .map((l) => l.toFixed(2))
      .join(' '),
    node: process.version,
    iproute2: answer('ip', '-V')?.replace(/^.*iproute2-/, '') ?? 'unknown',
    nft: answer('nft', '--version') ?? 'unknown',
    'temporary files': answer('findmnt', '-no', 'FSTYPE', '-T', tmpdir()) ?? 'unknown',
    ...Object.fromEntries(references),
    rounds: `${bench.rounds.rounds} after ${bench.rounds.warmUp} of warm-up, where n says nothing else`,
  };
}

export const renderConditions = (conditions: Record<string, string>): string =>
  `${Object.entries(conditions)
    .map(([what, value]) => `${`${what}:`.padEnd(23)}${value}`)
    .join('\n')}\n`;

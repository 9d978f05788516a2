/** `it` with a machine: a case that asks for `host` gets a fresh one, gone when the case ends. */

import { it as base, type TestContext } from 'vitest';
import { Host } from './netns.ts';
import { type Feature, lacking, ours } from './suite.ts';
import { onDemand } from './tally.ts';

export const it = base.extend<{ host: Host }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the fixtures a fixture uses from this pattern
  host: async ({}, use) => {
    const host = new Host('c');
    try {
      await use(host);
    } finally {
      host.remove();
    }
  },
});

/** For cases that hold for this suite only: what the specification demands and the reference plugins do not do. */
export const itOurs = ours ? it : it.skip;

/**
 * First line of a case that needs more than every machine has: it is listed as NOT RUN where that is missing. Emulated machines
 * are slow: of many cases alike, those 'on demand' run in one only where everything is asked for.
 */
export function needs(
  { skip }: Pick<TestContext, 'skip'>,
  feature: Feature,
  inMachines: 'always' | 'on demand' = 'always',
): void {
  const reason = lacking(feature);
  if (reason) skip(inMachines === 'always' ? reason : reason + onDemand);
}

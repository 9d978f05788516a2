/** What the layers that run on a real kernel have in common. */

import { defineConfig, type ViteUserConfig } from 'vitest/config';

interface Settings {
  readonly testTimeout: number;
  readonly hookTimeout: number;
  /** Files at a time (default 1: what counts packets wants the processors for itself). */
  readonly maxWorkers?: number;
}

/** One layer; a failed case is tried a second time. */
export const layer = (name: string, { maxWorkers = 1, ...timeouts }: Settings): ViteUserConfig =>
  defineConfig({
    test: {
      include: [`test/${name}/**/*.test.ts`],
      maxWorkers,
      retry: 1, // what passes only then is listed as UNSTABLE, with what was thrown
      globalSetup: 'test/support/interrupted.ts',
      reporters: ['verbose', './test/support/tally.ts'],
      ...timeouts,
    },
  });

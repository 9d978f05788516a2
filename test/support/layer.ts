/** What the layers that run on a real kernel have in common. */

import { defineConfig, type ViteUserConfig } from 'vitest/config';

/** One layer: its files one after another, as each has the machine's network to itself; a failed case is tried a second time. */
export const layer = (
  name: string,
  timeouts: { readonly testTimeout: number; readonly hookTimeout: number },
): ViteUserConfig =>
  defineConfig({
    test: {
      include: [`test/${name}/**/*.test.ts`],
      fileParallelism: false,
      retry: 1, // what passes only then is listed as UNSTABLE, with what was thrown
      reporters: ['verbose', './test/support/tally.ts'],
      ...timeouts,
    },
  });

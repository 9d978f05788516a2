import { defineConfig } from 'vitest/config';

/** Real runtimes that execute our plugins: root, and what scripts/setup and the build scripts beside the tests bring. */
export default defineConfig({
  test: {
    include: ['test/clients/**/*.test.ts'],
    fileParallelism: false,
    retry: 1, // what passes only then is listed as UNSTABLE, with what was thrown
    testTimeout: 120_000,
    hookTimeout: 300_000,
    reporters: ['verbose', './test/support/tally.ts'],
  },
});

import { defineConfig } from 'vitest/config';

/** Tests on the real kernel: root, one namespace tree per file, files one after another. */
export default defineConfig({
  test: {
    include: ['test/netns/**/*.test.ts'],
    fileParallelism: false,
    retry: 1, // what passes only then is listed as UNSTABLE, with what was thrown
    testTimeout: 120_000,
    hookTimeout: 120_000,
    reporters: ['verbose', './test/support/tally.ts'],
  },
});

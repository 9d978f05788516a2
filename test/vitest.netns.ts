import { defineConfig } from 'vitest/config';

/** Tests on the real kernel: root, one namespace tree per file, files one after another. */
export default defineConfig({
  test: {
    include: ['test/netns/**/*.test.ts'],
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    reporters: ['verbose', './test/support/tally.ts'],
  },
});

import { defineConfig } from 'vitest/config';

/** Fast tests: pure functions and golden files. No root, no network. */
export default defineConfig({
  test: {
    include: ['test/unit/**/*.test.ts'],
    pool: 'threads',
    testTimeout: 30_000,
    reporters: ['default', './test/support/tally.ts'],
  },
});

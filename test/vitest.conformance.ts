import { defineConfig } from 'vitest/config';

/**
 * Black-box tests over the exec protocol: root, the real kernel. CULVERT_BIN names the folder of another suite to run the same
 * cases on it; the cases that go beyond the reference plugins are then left out.
 */
export default defineConfig({
  test: {
    include: ['test/conformance/**/*.test.ts'],
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    retry: 1, // as in test/support/layer.ts
    globalSetup: 'test/support/interrupted.ts',
    reporters: ['default', './test/support/tally.ts'],
  },
});

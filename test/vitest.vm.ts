import { defineConfig } from 'vitest/config';

/** Tests on Debian's own kernel in virtual machines: root, qemu, several hundred MiB each. Files one after another. */
export default defineConfig({
  test: {
    include: ['test/vm/**/*.test.ts'],
    fileParallelism: false,
    retry: 1, // what passes only then is listed as UNSTABLE, with what was thrown
    testTimeout: 180_000,
    hookTimeout: 600_000,
    reporters: ['verbose', './test/support/tally.ts'],
  },
});

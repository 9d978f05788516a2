import { defineConfig } from 'vitest/config';

/** A real Kubernetes (scripts/kube-lab): root, and the programs that test/kube/build-kubernetes brings. One lab at a time. */
export default defineConfig({
  test: {
    include: ['test/kube/**/*.test.ts'],
    fileParallelism: false,
    retry: 1, // what passes only then is listed as UNSTABLE, with what was thrown
    testTimeout: 120_000,
    hookTimeout: 180_000,
    reporters: ['verbose', './test/support/tally.ts'],
  },
});

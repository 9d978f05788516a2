import { layer } from './support/layer.ts';

/** Real runtimes that execute our plugins: root, and what scripts/setup and the build scripts beside the tests bring. */
export default layer('clients', { testTimeout: 120_000, hookTimeout: 300_000 });

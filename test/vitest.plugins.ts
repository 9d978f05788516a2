import { layer } from './support/layer.ts';

/** Plugins under stress: damaged and malformed input, kills at every point, crowds. Root, the real kernel. */
export default layer('plugins', { maxWorkers: 2, testTimeout: 120_000, hookTimeout: 120_000 });

import { layer } from './support/layer.ts';

/** Tests on the real kernel: root, one namespace tree per file. */
export default layer('netns', { testTimeout: 120_000, hookTimeout: 120_000 });

import { layer } from './support/layer.ts';

/** Tests on Debian's own kernel in virtual machines: root, qemu, several hundred MiB each. */
export default layer('vm', { testTimeout: 180_000, hookTimeout: 600_000 });

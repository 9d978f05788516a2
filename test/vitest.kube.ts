import { layer } from './support/layer.ts';

/** A real Kubernetes (scripts/kube-lab): root, and the programs that test/kube/build-kubernetes brings. One lab at a time. */
export default layer('kube', { testTimeout: 120_000, hookTimeout: 180_000 });

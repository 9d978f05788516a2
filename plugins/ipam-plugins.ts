/** The IPAM plugins of this executable: interface plugins call them in-process. */

import type { Plugin } from '../src/cni/skel.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { hostLocal } from './host-local.ts';
import { staticIpam } from './static.ts';

export const ipamPlugins: readonly Plugin<Machine>[] = [hostLocal, staticIpam];

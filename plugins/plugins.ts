/** The plugins of this executable, by the name they are called with. */

import type { Plugin } from '../src/cni/skel.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { bandwidth } from './bandwidth.ts';
import { bridge } from './bridge.ts';
import { culvert } from './culvert.ts';
import { firewall } from './firewall.ts';
import { hostLocal } from './host-local.ts';
import { loopback } from './loopback.ts';
import { portmap } from './portmap.ts';
import { ptp } from './ptp.ts';
import { staticIpam } from './static.ts';
import { tuning } from './tuning.ts';

export const plugins: ReadonlyMap<string, Plugin<Machine>> = new Map(
  [bandwidth, bridge, culvert, firewall, hostLocal, loopback, portmap, ptp, staticIpam, tuning].map((p) => [p.name, p]),
);

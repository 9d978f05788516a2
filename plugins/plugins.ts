/** The plugins of this executable, by the name they are called with. */

import type { Plugin } from '../src/cni/skel.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { bandwidth } from './bandwidth.ts';
import { bridge } from './bridge.ts';
import { culvert } from './culvert.ts';
import { dummy } from './dummy.ts';
import { firewall } from './firewall.ts';
import { hostDevice } from './host-device.ts';
import { hostLocal } from './host-local.ts';
import { ipvlan } from './ipvlan.ts';
import { loopback } from './loopback.ts';
import { macvlan } from './macvlan.ts';
import { portmap } from './portmap.ts';
import { ptp } from './ptp.ts';
import { sbr } from './sbr.ts';
import { staticIpam } from './static.ts';
import { tuning } from './tuning.ts';
import { vlan } from './vlan.ts';
import { vrf } from './vrf.ts';

const all: readonly Plugin<Machine>[] = [
  bandwidth,
  bridge,
  culvert,
  dummy,
  firewall,
  hostDevice,
  hostLocal,
  ipvlan,
  loopback,
  macvlan,
  portmap,
  ptp,
  sbr,
  staticIpam,
  tuning,
  vlan,
  vrf,
];

export const plugins: ReadonlyMap<string, Plugin<Machine>> = new Map(all.map((p) => [p.name, p]));

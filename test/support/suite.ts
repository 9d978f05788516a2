/** Which plugin suite the cases run on, and what this machine can do: the cases ask here what holds for them. */

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { binDir } from './netns.ts';

/** Whether the plugins under test are this project's. */
export const ours = existsSync(join(binDir, 'culvert'));

/** The reference plugins for interoperation tests: their folder, or undefined where they are not installed. */
export const referenceDir = [process.env['CULVERT_REFERENCE'], '/usr/lib/cni', '/opt/cni/bin'].find(
  (dir) => dir !== undefined && existsSync(join(dir, 'host-local')) && !existsSync(join(dir, 'culvert')),
);

/** The error code that the specification demands of us; the reference plugins say 999 for most of their errors. */
export const errorCode = (specified: number, reference = 999): number => (ours ? specified : reference);

const probes = {
  'bridge VLAN filtering': 'link add name br0 type bridge vlan_filtering 1',
  dummy: 'link add name d0 type dummy',
  ipip: 'link add name t0 type ipip local 127.0.0.1 ttl 64',
  ip6tnl: 'link add name t0 type ip6tnl external',
  wireguard: 'link add name t0 type wireguard',
} as const;

export type Feature = keyof typeof probes | 'the reference plugins';

const known = new Map<string, boolean>();

/** Whether the kernel can do it, tried once in a namespace of its own. */
function kernelHas(feature: keyof typeof probes): boolean {
  const before = known.get(feature);
  if (before !== undefined) return before;
  const has = spawnSync('unshare', ['-n', 'ip', ...probes[feature].split(' ')]).status === 0;
  known.set(feature, has);
  return has;
}

/** Why a case cannot run here, or undefined when it can. */
export function lacking(feature: Feature): string | undefined {
  switch (feature) {
    case 'the reference plugins':
      if (!ours) return 'the suite under test is the reference';
      return referenceDir ? undefined : 'the reference plugins are not installed (package containernetworking-plugins)';
    default:
      return kernelHas(feature) ? undefined : `this kernel has no ${feature}`;
  }
}

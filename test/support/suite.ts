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

/** Lines for `ip -batch`, in a namespace where v0 is one end of a veth pair. */
const probes = {
  'bridge VLAN filtering': 'link add name br0 type bridge vlan_filtering 1',
  dummy: 'link add name d0 type dummy',
  ipip: 'link add name t0 type ipip local 127.0.0.1 ttl 64',
  ip6tnl: 'link add name t0 type ip6tnl external',
  wireguard: 'link add name t0 type wireguard',
  macvlan: 'link add name d0 link v0 type macvlan',
  ipvlan: 'link add name d0 link v0 type ipvlan',
  vlan: 'link add name d0 link v0 type vlan id 5',
  vrf: 'link add name d0 type vrf table 5',
} as const;

export type Feature = keyof typeof probes | 'SCTP sockets' | 'podman with CNI' | 'the reference plugins';

const known = new Map<string, boolean>();

/** Whether the kernel can do it, tried once in a namespace of its own. */
function kernelHas(feature: keyof typeof probes): boolean {
  const before = known.get(feature);
  if (before !== undefined) return before;
  const input = `link add name v0 type veth peer name v1\n${probes[feature]}\n`;
  const has = spawnSync('unshare', ['-n', 'ip', '-batch', '-'], { input }).status === 0;
  known.set(feature, has);
  return has;
}

/** Asking for such a socket loads the module where there is one. */
const hasSctp = (): boolean =>
  spawnSync('sh', ['-c', 'modprobe -q sctp; grep -q ^SCTP /proc/net/protocols']).status === 0;

const podmanVersion = (): number =>
  Number(/version (\d+)/.exec(spawnSync('podman', ['--version'], { encoding: 'utf8' }).stdout ?? '')?.[1]);

/** Why a case cannot run here, or undefined when it can. */
export function lacking(feature: Feature): string | undefined {
  switch (feature) {
    case 'the reference plugins':
      if (!ours) return 'the suite under test is the reference';
      return referenceDir ? undefined : 'the reference plugins are not installed (package containernetworking-plugins)';
    case 'SCTP sockets':
      return hasSctp() ? undefined : 'this kernel has no SCTP sockets (CONFIG_IP_SCTP)';
    case 'podman with CNI':
      return podmanVersion() === 4 ? undefined : 'podman 4 is not installed; later ones have no CNI';
    default:
      return kernelHas(feature) ? undefined : `this kernel has no ${feature}`;
  }
}

/** Attachments to a bridge, and what the kernel shows of them. */

import { dataDir } from './ipam.ts';
import type { Host } from './netns.ts';
import { Pod } from './pod.ts';

export interface LinkShown {
  ifname: string;
  address: string;
  mtu: number;
  operstate: string;
  flags: string[];
  master?: string;
  promiscuity?: number;
  linkinfo?: { info_kind?: string; info_slave_data?: Record<string, unknown> };
}

export interface AddressShown {
  family: string;
  local: string;
  prefixlen: number;
  scope: string;
  tentative?: boolean;
}

export const hostLocal = (host: Host, ipam: Record<string, unknown> = {}): Record<string, unknown> => ({
  type: 'host-local',
  dataDir: dataDir(host),
  ...('ranges' in ipam ? {} : { subnet: '10.1.2.0/24' }),
  ...ipam,
});

export const dualStack = { ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1:2::/64' }]] };

interface Options {
  id?: string;
  name?: string;
  cniVersion?: string;
  /** host-local's keys; none at all: a bridge without IPAM. */
  ipam?: Record<string, unknown> | undefined;
}

/** A container to be attached to the bridge br0, with the keys given. */
export function attach(host: Host, keys: Record<string, unknown> = {}, options: Options = {}): Pod {
  const { id, name = 'net', cniVersion = '1.1.0' } = options;
  const ipam = 'ipam' in options && options.ipam === undefined ? {} : { ipam: hostLocal(host, options.ipam) };
  return new Pod(host, { cniVersion, name, type: 'bridge', bridge: 'br0', ...ipam, ...keys }, id);
}

export const links = (host: Host): LinkShown[] => JSON.parse(host.exec('ip -d -j link')) as LinkShown[];

export const link = (host: Host, name: string): LinkShown | undefined => links(host).find((l) => l.ifname === name);

/** The host's links of the suite: every veth's name. */
export const veths = (host: Host): string[] =>
  links(host)
    .map((l) => l.ifname)
    .filter((name) => name.startsWith('veth'))
    .sort();

/** The addresses on a link but for link-local ones, "10.1.2.1/24". */
export function addressesOn(host: Host, name: string): string[] {
  const all = JSON.parse(host.exec('ip -j addr')) as { ifname: string; addr_info: AddressShown[] }[];
  const shown = all.find((l) => l.ifname === name);
  return (shown?.addr_info ?? []).filter((a) => a.scope !== 'link').map((a) => `${a.local}/${a.prefixlen}`);
}

/** The same of a container's interface. */
export function podAddresses(pod: Pod, name = 'eth0'): string[] {
  const shown = pod.ip<{ addr_info: AddressShown[] }>(`addr show dev ${name}`);
  return (shown[0]?.addr_info ?? []).filter((a) => a.scope !== 'link').map((a) => `${a.local}/${a.prefixlen}`);
}

export interface RouteShown {
  dst: string;
  gateway?: string;
  dev: string;
  metric?: number;
  scope?: string;
  metrics?: { mtu?: number; advmss?: number }[];
}

export const podRoutes = (pod: Pod, family: 4 | 6 = 4, table = 'main'): RouteShown[] =>
  pod.ip<RouteShown>(`-${family} route show table ${table}`);

/** The rule set without what changes by itself. */
export const ruleset = (host: Host): string => host.exec('nft -s list ruleset');

/** Containers that get a device of their own, and a link of the host for it to sit on. */

import { dualStack, hostLocal } from './bridge.ts';
import type { Host } from './netns.ts';
import { Pod } from './pod.ts';

export type Keys = Record<string, unknown>;

export interface DeviceShown {
  ifname: string;
  address: string;
  mtu: number;
  flags: string[];
  ifalias?: string;
  group?: string;
  master?: string;
  linkinfo?: { info_kind?: string; info_data?: Record<string, unknown> };
}

/** The master m0, one end of a pair; its other end is m1. */
export function makeMaster(host: Host): void {
  host.exec('ip link add m0 address 02:00:00:00:00:0a type veth peer name m1');
  for (const name of ['m0', 'm1']) host.exec(`ip link set ${name} up`);
}

export const dualStackRoutes = [{ dst: '0.0.0.0/0' }, { dst: '192.168.0.0/16', gw: '10.1.2.9' }, { dst: '::/0' }];

/** host-local with an address of each family. */
export const twoFamilies = (host: Host): Keys => hostLocal(host, { ...dualStack, routes: dualStackRoutes });

/** A container of a device plugin, with an address of each family unless told otherwise. */
export const device = (host: Host, type: string, keys: Keys = {}, id?: string): Pod =>
  new Pod(host, { cniVersion: '1.1.0', name: 'net', type, ipam: twoFamilies(host), ...keys }, id);

/** The interface in the container, or undefined. */
export const shownIn = (pod: Pod, name = 'eth0'): DeviceShown | undefined =>
  pod.ip<DeviceShown>('-d link').find((l) => l.ifname === name);

/** The links of a container but for lo. */
export const linksIn = (pod: Pod): string[] =>
  pod
    .ip<DeviceShown>('link')
    .map((l) => l.ifname)
    .filter((name) => name !== 'lo');

export const linksOn = (host: Host): DeviceShown[] => JSON.parse(host.exec('ip -d -j link')) as DeviceShown[];

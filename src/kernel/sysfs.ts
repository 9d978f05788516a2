/** What /sys tells of devices on their buses. It shows the network devices of the namespace that it was mounted in. */

import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';

const pciDevices = '/sys/bus/pci/devices';
const auxiliaryDevices = '/sys/bus/auxiliary/devices';

export const isPciDevice = (address: string): boolean => existsSync(join(pciDevices, address));
export const isAuxiliaryDevice = (name: string): boolean => existsSync(join(auxiliaryDevices, name));

function list(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

/** The network devices of a device's folder in /sys. */
export const netDevices = (folder: string): string[] => list(join(folder, 'net'));

/** The network devices of a PCI device: its own, or those of the virtio device on it. */
export function pciNetDevices(address: string): string[] {
  const folder = join(pciDevices, address);
  const virtio = list(folder).filter((name) => name.startsWith('virtio'));
  return [folder, ...virtio.map((name) => join(folder, name))].flatMap(netDevices);
}

export const auxiliaryNetDevices = (name: string): string[] => netDevices(join(auxiliaryDevices, name));

/** The driver of a PCI device; undefined when it has none. */
export function pciDriver(address: string): string | undefined {
  try {
    return basename(readlinkSync(join(pciDevices, address, 'driver')));
  } catch {
    return undefined;
  }
}

/** The configuration of `host-device`: every key of the reference plugin 1.9.1, checked. */

import { normalize } from 'node:path';
import type { Request } from '../../src/cni/types.ts';
import { Fields } from '../../src/decode.ts';
import { isAuxiliaryDevice, isPciDevice, pciDriver } from '../../src/kernel/sysfs.ts';
import { interfaceNameRule, isInterfaceName } from '../../src/net/name.ts';
import { type DeviceConf, decodeDevice } from '../attachment/device.ts';

/** How the device is found: the first of these keys that is set. */
export type Selector =
  | { by: 'device'; name: string }
  | { by: 'hwaddr'; mac: string }
  | { by: 'kernelpath'; folder: string }
  | { by: 'pciBusID'; address: string }
  | { by: 'auxiliary'; name: string };

export interface HostDeviceConf extends DeviceConf {
  selector: Selector;
  /** The device's driver is for programs, not for the kernel: there is no link to move. */
  dpdk: boolean;
}

const userspaceDrivers = ['vfio-pci', 'uio_pci_generic', 'igb_uio'];

const hardwareAddressRule = 'an address such as "02:42:ac:11:00:02", of 6, 8 or 20 octets';

/** A link-layer address of any kind, InfiniBand's included, in the kernel's spelling. */
function parseHardwareAddress(text: string): string | undefined {
  if (!/^[\da-f]{2}([:-][\da-f]{2})+$|^[\da-f]{4}(\.[\da-f]{4})+$/i.test(text)) return undefined;
  const octets = text.toLowerCase().replaceAll(/[:.-]/g, '').match(/../g) ?? [];
  return [6, 8, 20].includes(octets.length) ? octets.join(':') : undefined;
}

/** Names of the buses are file names in /sys. */
const isBusName = (text: string): boolean => /^[\w.:-]+$/.test(text) && !/^\.+$/.test(text);

/** `runtimeConfig.deviceID`, which comes before `pciBusID`. */
function decodeDeviceId(f: Fields): Selector | undefined {
  f.ignoreRest();
  const name = f.string('deviceID') ?? '';
  if (name === '') return undefined;
  if (isBusName(name) && isPciDevice(name)) return { by: 'pciBusID', address: name };
  if (isBusName(name) && isAuxiliaryDevice(name)) return { by: 'auxiliary', name };
  return f.wrong('deviceID', 'a device of the PCI or the auxiliary bus');
}

function decodeSelectors(f: Fields): Selector[] {
  const name = f.string('device') ?? '';
  if (name !== '' && !isInterfaceName(name)) f.wrong('device', interfaceNameRule);
  const hwaddr = f.string('hwaddr') ?? '';
  const mac = hwaddr === '' ? undefined : (parseHardwareAddress(hwaddr) ?? f.wrong('hwaddr', hardwareAddressRule));
  const folder = normalize(f.string('kernelpath') || '.');
  if (folder !== '.' && !folder.startsWith('/sys/devices/')) f.wrong('kernelpath', 'a path below /sys/devices/');
  const address = f.string('pciBusID') ?? '';
  if (address !== '' && !isBusName(address)) f.wrong('pciBusID', 'a PCI address such as "0000:01:00.0"');
  const onBus = f.object('runtimeConfig', decodeDeviceId);
  const all: (Selector | false | undefined)[] = [
    name !== '' && { by: 'device', name },
    mac !== undefined && { by: 'hwaddr', mac },
    folder !== '.' && { by: 'kernelpath', folder },
    onBus ?? (address !== '' && { by: 'pciBusID', address }),
  ];
  return all.filter((s) => s !== false && s !== undefined);
}

/** Throws ConfigError with every wrong field; `notes` takes remarks on keys. */
export function decodeHostDeviceConf(request: Pick<Request, 'conf'>, notes: string[] = []): HostDeviceConf {
  return Fields.read(
    request.conf,
    '',
    (f) => {
      const before = f.problems.length;
      const selectors = decodeSelectors(f);
      if (selectors.length === 0 && f.problems.length === before) {
        f.wrong(
          'device',
          'a link of the host here, or hwaddr, kernelpath, pciBusID or runtimeConfig.deviceID',
          undefined,
        );
      }
      const onPci = selectors.find((s) => s.by === 'pciBusID');
      const driver = onPci && pciDriver(onPci.address);
      return {
        ...decodeDevice(f),
        selector: selectors[0] ?? { by: 'device', name: '' },
        dpdk: driver !== undefined && userspaceDrivers.includes(driver),
      };
    },
    notes,
  );
}

/** A selector as its key and value, for messages. */
export function keyOf(selector: Selector): { path: string; got: string } {
  switch (selector.by) {
    case 'device':
      return { path: 'device', got: selector.name };
    case 'hwaddr':
      return { path: 'hwaddr', got: selector.mac };
    case 'kernelpath':
      return { path: 'kernelpath', got: selector.folder };
    case 'pciBusID':
      return { path: 'pciBusID', got: selector.address };
    case 'auxiliary':
      return { path: 'runtimeConfig.deviceID', got: selector.name };
    default:
      return selector satisfies never;
  }
}

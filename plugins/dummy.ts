/**
 * dummy: an interface that sends nothing anywhere, for an address that the container has whatever its other links do.
 * Drop-in for the reference plugin of the same name: its keys, its result.
 */

import type { Request } from '../src/cni/types.ts';
import { Fields } from '../src/decode.ts';
import { podMac } from '../src/net/name.ts';
import { type DeviceConf, decodeDevice, requireIpam } from './attachment/device.ts';
import { madeDevicePlugin } from './attachment/made-device.ts';
import { idOf } from './attachment/veth.ts';

/** Throws ConfigError with every wrong field; `notes` takes remarks on keys. */
export function decodeDummyConf(request: Pick<Request, 'conf'>, notes: string[] = []): DeviceConf {
  return Fields.read(
    request.conf,
    '',
    (f) => {
      const conf = decodeDevice(f);
      requireIpam(f, conf);
      return conf;
    },
    notes,
  );
}

export const dummy = madeDevicePlugin<DeviceConf>({
  name: 'dummy',
  about: 'gives containers an interface that sends nothing, for an address of their own',
  kind: 'dummy',
  decode: decodeDummyConf,
  make: () => ({ kind: 'dummy' }),
  mac: (_conf, request) => podMac(idOf(request)),
});

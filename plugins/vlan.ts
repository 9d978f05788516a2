/**
 * vlan: an interface of the container's own in a VLAN (802.1Q) of a link of the host.
 * Drop-in for the reference plugin of the same name: its keys, its result.
 */

import type { Request } from '../src/cni/types.ts';
import { Fields } from '../src/decode.ts';
import { decodeOnMaster, type MadeConf, madeDevicePlugin } from './attachment/made-device.ts';

interface VlanConf extends MadeConf {
  vlanId: number;
}

/** Throws ConfigError with every wrong field; `notes` takes remarks on keys. */
export function decodeVlanConf(request: Pick<Request, 'conf'>, notes: string[] = []): VlanConf {
  return Fields.read(
    request.conf,
    '',
    (f) => {
      const conf = decodeOnMaster(f);
      if ((f.raw('master') ?? '') === '') f.wrong('master', 'the name of the link that the VLAN is of');
      return { ...conf, vlanId: f.integer('vlanId', 0, 4094) ?? 0 };
    },
    notes,
  );
}

export const vlan = madeDevicePlugin<VlanConf>({
  name: 'vlan',
  about: 'gives containers an interface in a VLAN of a link of the host',
  kind: 'vlan',
  decode: decodeVlanConf,
  make: ({ vlanId }, on) => ({ kind: 'vlan', id: vlanId, ...on }),
});

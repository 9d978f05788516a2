/**
 * ipvlan: an interface of the container's own on a link of the host, with that link's MAC: for segments that allow no others.
 * Drop-in for the reference plugin of the same name: its keys, its result; chained, it sits on the interface before it.
 */

import { readPrevResult } from '../src/cni/conf.ts';
import type { Request } from '../src/cni/types.ts';
import { emptyResult } from '../src/cni/version.ts';
import { Fields, show } from '../src/decode.ts';
import { decodeOnMaster, type MadeConf, madeDevicePlugin } from './attachment/made-device.ts';

interface IpvlanConf extends MadeConf {
  mode: string;
}

const modes = ['l2', 'l3', 'l3s'];

/** In a chain ADD's prevResult is that of the plugin before, whose one interface is the master. CHECK's is our own. */
function chainedMaster(f: Fields, { command, conf, cniVersion }: Request): string | undefined {
  const previous = command === 'ADD' ? readPrevResult(conf, cniVersion) : undefined;
  if (!previous) return undefined;
  const [only, ...more] = previous.interfaces;
  if (only && only.name !== '' && more.length === 0) return only.name;
  const names = previous.interfaces.map((i) => i.name);
  return f.wrong('master', `a link's name, as prevResult has not one interface but ${show(names)}`, undefined);
}

/** Throws ConfigError with every wrong field; `notes` takes remarks on keys. */
export function decodeIpvlanConf(request: Request, notes: string[] = []): IpvlanConf {
  return Fields.read(
    request.conf,
    '',
    (f) => {
      const mode = f.string('mode') || 'l2';
      if (!modes.includes(mode)) f.wrong('mode', `one of ${modes.join(', ')}`);
      const conf = decodeOnMaster(f);
      const name = conf.master.name ?? chainedMaster(f, request);
      return { ...conf, mode, master: { ...conf.master, name } };
    },
    notes,
  );
}

export const ipvlan = madeDevicePlugin<IpvlanConf>({
  name: 'ipvlan',
  about: 'gives containers an interface on a link of the host, with the MAC of that link',
  kind: 'ipvlan',
  decode: decodeIpvlanConf,
  make: ({ mode }, on) => ({ kind: 'ipvlan', mode, ...on }),
  given: ({ conf, cniVersion }) => readPrevResult(conf, cniVersion) ?? emptyResult(),
});

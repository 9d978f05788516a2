/**
 * macvlan: an interface of the container's own on a link of the host, with a MAC of its own on the same segment.
 * Drop-in for the reference plugin of the same name: its keys, its result.
 *
 *   pod eth0 (macvlan) ┐
 *   pod eth0 (macvlan) ┴ the host's eth0 ── the segment; the host itself is not reached by way of it
 */

import type { Request } from '../src/cni/types.ts';
import { Fields } from '../src/decode.ts';
import { podMac } from '../src/net/name.ts';
import { argsMac, decodeMacKey, runtimeMac } from './attachment/conf.ts';
import { decodeOnMaster, type MadeConf, madeDevicePlugin } from './attachment/made-device.ts';
import { idOf } from './attachment/veth.ts';

interface MacvlanConf extends MadeConf {
  mode: string;
  bcqueuelen: number | undefined;
}

const modes = ['bridge', 'private', 'vepa', 'passthru'];

/** The MAC asked for is that of runtimeConfig, else of args, of CNI_ARGS, of the configuration. Throws ConfigError, CniError 4. */
export function decodeMacvlanConf(request: Request, notes: string[] = []): MacvlanConf {
  const fromEnvironment = argsMac(request);
  return Fields.read(
    request.conf,
    '',
    (f) => {
      const mode = f.string('mode') || 'bridge';
      if (!modes.includes(mode)) f.wrong('mode', `one of ${modes.join(', ')}`);
      const own = decodeMacKey(f);
      return {
        ...decodeOnMaster(f),
        mode,
        mac: runtimeMac(f) ?? fromEnvironment ?? own,
        bcqueuelen: f.integer('bcqueuelen', 0, 0xffff_ffff) || undefined,
      };
    },
    notes,
  );
}

export const macvlan = madeDevicePlugin<MacvlanConf>({
  name: 'macvlan',
  about: 'gives containers an interface with a MAC of its own on a link of the host',
  kind: 'macvlan',
  decode: decodeMacvlanConf,
  make: ({ mode, bcqueuelen }, on) => ({ kind: 'macvlan', mode, ...on, ...(bcqueuelen ? { bcqueuelen } : {}) }),
  mac: ({ mac, mode }, request) => mac ?? (mode === 'passthru' ? undefined : podMac(idOf(request))),
});

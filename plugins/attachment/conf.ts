/** Keys that several plugins' configurations have in common. */

import { readArgs } from '../../src/cni/env.ts';
import type { Request } from '../../src/cni/types.ts';
import { type Fields, show } from '../../src/decode.ts';
import { ConfigError } from '../../src/errors.ts';
import { parseMac } from '../../src/net/mac.ts';

const macRule = 'six octets such as "02:42:ac:11:00:02", not a group address';

/** `mac` of an object that other plugins and IPAM have keys in as well. */
export function decodeMac(f: Fields): string | undefined {
  f.ignoreRest();
  return decodeMacKey(f);
}

/** The key `mac`; undefined when it is absent or empty. */
export function decodeMacKey(f: Fields): string | undefined {
  const text = f.string('mac');
  if (text === undefined || text === '') return undefined;
  return parseMac(text) ?? f.wrong('mac', macRule);
}

/** The MAC that the runtime asks for: by runtimeConfig, else by args. */
export function runtimeMac(f: Fields): string | undefined {
  const fromArgs = f.object('args', (args) => {
    args.ignoreRest();
    return args.object('cni', decodeMac);
  });
  return f.object('runtimeConfig', decodeMac) ?? fromArgs;
}

/** MAC of CNI_ARGS. Throws ConfigError, or CniError 4 for CNI_ARGS that are none. */
export function argsMac(request: Request): string | undefined {
  const text = readArgs(request.args, ['MAC']).get('MAC') ?? '';
  if (text === '') return undefined;
  const mac = parseMac(text);
  if (!mac) throw new ConfigError([{ path: 'CNI_ARGS MAC', got: show(text), want: macRule }]);
  return mac;
}

/** `ipam.type`; what else is in `ipam` the IPAM plugin decodes. */
export const decodeIpamType = (f: Fields): string | undefined =>
  f.object('ipam', (ipam) => {
    ipam.ignoreRest();
    return ipam.string('type') || undefined;
  });

/** The backend is nftables whatever the key says; said once where somebody asked for the other. */
export function checkMasqueradeBackend(f: Fields, notes: string[]): void {
  const backend = f.string('ipMasqBackend');
  if (backend === 'iptables') notes.push('ipMasqBackend: "iptables" is done with nftables');
  else if (backend !== undefined && backend !== 'nftables') f.wrong('ipMasqBackend', '"nftables" or "iptables"');
}

/** The configuration of `sbr`: every key of the reference plugin 1.9.1, checked. */

import { protocolKeys } from '../../src/cni/conf.ts';
import type { Request } from '../../src/cni/types.ts';
import { Fields } from '../../src/decode.ts';
import { type Address, type Family, parseAddress } from '../../src/net/address.ts';

export interface SbrConf {
  /** A table that is there already: only rules are made. */
  table: number | undefined;
  gateways: ReadonlyMap<Family, Address>;
  addSourceHints: boolean;
}

/** One for each family at most. */
function decodeGateways(f: Fields): ReadonlyMap<Family, Address> {
  const gateways = new Map<Family, Address>();
  for (const [i, text] of (f.strings('gateways') ?? []).entries()) {
    const address = parseAddress(text);
    if (!address) f.wrong(`gateways[${i}]`, 'an IPv4 or IPv6 address', text);
    else if (gateways.has(address.family)) f.wrong(`gateways[${i}]`, `one IPv${address.family} address at most`, text);
    else gateways.set(address.family, address);
  }
  return gateways;
}

/** Throws ConfigError with every wrong field; `notes` takes remarks on keys. */
export function decodeSbrConf(request: Pick<Request, 'conf'>, notes: string[] = []): SbrConf {
  return Fields.read(
    request.conf,
    '',
    (f) => {
      f.ignore(...protocolKeys);
      return {
        table: f.integer('table', 1, 0xffff_ffff),
        gateways: decodeGateways(f),
        addSourceHints: f.boolean('addSourceHints') ?? false,
      };
    },
    notes,
  );
}

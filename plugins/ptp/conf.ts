/** The configuration of `ptp`: every key of the reference plugin 1.9.1, checked. */

import { protocolKeys } from '../../src/cni/conf.ts';
import type { Dns, Request } from '../../src/cni/types.ts';
import { decodeDns } from '../../src/cni/version.ts';
import { Fields } from '../../src/decode.ts';
import { checkMasqueradeBackend, decodeIpamType } from '../attachment/conf.ts';

export interface PtpConf {
  ipMasq: boolean;
  mtu: number | undefined;
  ipamType: string;
  dns: Dns;
}

/** The configuration of a request; `notes` takes remarks on keys. Throws ConfigError with every wrong field. */
export function decodePtpConf(request: Pick<Request, 'conf'>, notes: string[] = []): PtpConf {
  return Fields.read(
    request.conf,
    '',
    (f) => {
      f.ignore(...protocolKeys);
      const before = f.problems.length;
      const ipamType = decodeIpamType(f);
      if (!ipamType && f.problems.length === before) {
        f.wrong('ipam.type', 'the name of an IPAM plugin: without an address there is nothing to route', undefined);
      }
      const conf: PtpConf = {
        ipMasq: f.boolean('ipMasq') ?? false,
        mtu: f.integer('mtu', 0, 65_535) || undefined,
        ipamType: ipamType ?? '',
        dns: f.object('dns', decodeDns) ?? {},
      };
      checkMasqueradeBackend(f, notes);
      return conf;
    },
    notes,
  );
}

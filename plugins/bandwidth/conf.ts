/** The configuration of `bandwidth`: every key of the reference plugin 1.9.1, and the subnets that its 1.5.0 had, checked. */

import { protocolKeys } from '../../src/cni/conf.ts';
import type { Request } from '../../src/cni/types.ts';
import { Fields } from '../../src/decode.ts';
import { networkOf, type Prefix, parsePrefix } from '../../src/net/prefix.ts';
import { type Bandwidth, type Direction, directions, type Rate } from '../../src/plan/bandwidth.ts';

/** The reference's limit: 4 GB. */
const maxBurstBits = (2 ** 32 - 1) * 8 - 1;

const rateKeys = directions.flatMap((d) => [`${d}Rate`, `${d}Burst`]);

function decodeRate(f: Fields, direction: Direction): Rate | undefined {
  const bitsPerSecond = f.integer(`${direction}Rate`, 0, Number.MAX_SAFE_INTEGER) ?? 0;
  const burstBits = f.integer(`${direction}Burst`, 0, maxBurstBits) || undefined;
  if (bitsPerSecond !== 0) return { bitsPerSecond, burstBits };
  if (burstBits !== undefined && !f.problems.some((p) => p.path.endsWith(`${direction}Rate`))) {
    f.wrong(`${direction}Rate`, `bits per second, as ${direction}Burst is set`);
  }
  return undefined;
}

function decodeSubnets(f: Fields, key: string): Prefix[] {
  return (f.strings(key) ?? []).flatMap((text, i) => {
    const prefix = parsePrefix(text);
    return prefix ? networkOf(prefix) : (f.wrong(`${key}[${i}]`, 'a prefix such as "10.0.0.0/8"', text) ?? []);
  });
}

/** Rates, bursts and subnets of one object: `runtimeConfig.bandwidth`, or the configuration itself. */
export function decodeBandwidth(f: Fields): Bandwidth {
  const rates = directions.flatMap((d) => {
    const rate = decodeRate(f, d);
    return rate ? [[d, rate] as const] : [];
  });
  const shaped = decodeSubnets(f, 'shapedSubnets');
  const unshaped = decodeSubnets(f, 'unshapedSubnets');
  if (shaped.length > 0 && unshaped.length > 0) f.wrong('unshapedSubnets', 'nothing, as shapedSubnets is set');
  return { ...Object.fromEntries(rates), shaped, unshaped };
}

/** What the runtime asks for (`runtimeConfig.bandwidth`). */
export function decodeRuntimeBandwidth(runtime: Fields): Bandwidth | undefined {
  return runtime.object('bandwidth', decodeBandwidth);
}

/**
 * The configuration; its own rates come before the runtime's, as in the reference plugin, and its subnets hold for the runtime's
 * rates too. Throws ConfigError with every wrong field.
 */
export function decodeBandwidthConf(request: Request, notes: string[] = []): Bandwidth {
  return Fields.read(
    request.conf,
    '',
    (f) => {
      f.ignore(...protocolKeys, 'ipam', 'dns');
      const own = decodeBandwidth(f);
      const asked = f.object('runtimeConfig', (runtime) => {
        const bandwidth = decodeRuntimeBandwidth(runtime);
        runtime.ignoreRest();
        return bandwidth;
      });
      if (!asked || rateKeys.some((key) => f.has(key))) return own;
      return asked.shaped.length + asked.unshaped.length > 0
        ? asked
        : { ...asked, shaped: own.shaped, unshaped: own.unshaped };
    },
    notes,
  );
}

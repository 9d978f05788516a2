/**
 * static: gives the addresses that the configuration or the runtime names, and keeps nothing: whether they are free is for
 * whoever named them to know. It touches no kernel; the interface plugins call it as they call host-local.
 */

import { protocolKeys, readValidAttachments, requirePrevResult } from '../src/cni/conf.ts';
import { readArgs } from '../src/cni/env.ts';
import { code, driftError } from '../src/cni/error.ts';
import type { Plugin } from '../src/cni/skel.ts';
import type { Dns, IpConfig, Request, Result, Route } from '../src/cni/types.ts';
import { atLeast, decodeDns, decodeRoute } from '../src/cni/version.ts';
import { Fields, show } from '../src/decode.ts';
import { CniError, type Problem } from '../src/errors.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { type Address, equalAddress, families, formatAddress, parseAddress } from '../src/net/address.ts';
import { contains, type Prefix, parsePrefix } from '../src/net/prefix.ts';

export interface StaticConf {
  ips: IpConfig[];
  routes: Route[];
  dns: Dns;
}

const wantPrefix = 'an address with a prefix length such as "10.1.2.3/24"';

/** The items of a CNI_ARGS value, "A,B". Throws CniError 4 for the first that cannot be read. */
function readList<T>(key: string, text: string, parse: (item: string) => T | undefined, want: string): T[] {
  if (text === '') return [];
  return text.split(',').map((item) => {
    const value = parse(item.trim());
    if (value === undefined) {
      throw new CniError(code.invalidEnvironment, `CNI_ARGS: ${key}: got ${show(item)}, want ${want}`);
    }
    return value;
  });
}

/** CNI_ARGS' IP and GATEWAY: each gateway goes with the addresses whose prefix holds it. */
function ipsOfArgs(request: Request, notes: string[]): IpConfig[] {
  const args = readArgs(request.args, ['IP', 'GATEWAY']);
  const addresses = readList('IP', args.get('IP') ?? '', parsePrefix, wantPrefix);
  const gateways = readList('GATEWAY', args.get('GATEWAY') ?? '', parseAddress, 'an IPv4 or IPv6 address');
  for (const gateway of gateways) {
    if (addresses.some((a) => contains(a, gateway))) continue;
    notes.push(`CNI_ARGS GATEWAY: ${formatAddress(gateway)} is in the prefix of no address of CNI_ARGS IP, ignored`);
  }
  return addresses.map((address) => {
    const gateway = gateways.findLast((g) => contains(address, g));
    return { address, ...(gateway ? { gateway } : {}) };
  });
}

/** `ips` of args and runtimeConfig; other plugins' keys live beside it. */
function decodeIps(f: Fields): Prefix[] {
  f.ignoreRest();
  return (f.strings('ips') ?? []).flatMap(
    (text, i) => parsePrefix(text) ?? f.wrong(`ips[${i}]`, wantPrefix, text) ?? [],
  );
}

function decodeAddress(f: Fields): IpConfig | undefined {
  const address = f.prefix('address');
  const gateway = f.address('gateway');
  if (!address) return f.raw('address') ? undefined : f.wrong('address', wantPrefix);
  return { address, ...(gateway ? { gateway } : {}) };
}

/** Protocol versions before 0.3.0 have room for one address per family (spec 0.2.0, "Result"). */
function checkCount(ips: readonly IpConfig[], cniVersion: string): Problem[] {
  if (atLeast(cniVersion, '0.3.0')) return [];
  return families.flatMap((family) => {
    const count = ips.filter((ip) => ip.address.address.family === family).length;
    const want = `one at most with cniVersion "${cniVersion}"; 0.3.0 and newer may have several`;
    return count > 1 ? [{ path: 'ipam.addresses', got: `${count} IPv${family} addresses`, want }] : [];
  });
}

/**
 * The addresses are those of runtimeConfig, else of args, else of the configuration with those of CNI_ARGS after them.
 * Throws ConfigError with every wrong field, CniError 4 for CNI_ARGS; `notes` takes what is odd.
 */
export function decodeStaticConf(request: Request, notes: string[] = []): StaticConf {
  const fromEnvironment = ipsOfArgs(request, notes);
  return Fields.read(
    request.conf,
    '',
    (f) => {
      f.ignore(...protocolKeys);
      const args = f.object('args', (a) => {
        a.ignoreRest();
        return a.object('cni', decodeIps);
      });
      const runtime = f.object('runtimeConfig', decodeIps);
      const ipam = f.object('ipam', (i) => {
        i.ignore('type', 'name');
        const addresses = i.objects('addresses', decodeAddress) ?? [];
        return { addresses, routes: i.objects('routes', decodeRoute) ?? [], dns: i.object('dns', decodeDns) ?? {} };
      });
      if (!f.has('ipam')) f.wrong('ipam', 'an object with the addresses to give');
      const asked = [runtime, args].find((list) => list && list.length > 0);
      const ips = asked?.map((address) => ({ address })) ?? [...(ipam?.addresses ?? []), ...fromEnvironment];
      f.problems.push(...checkCount(ips, request.cniVersion));
      f.ignoreRest(); // the other keys are the interface plugin's
      return { ips, routes: ipam?.routes ?? [], dns: ipam?.dns ?? {} };
    },
    notes,
  );
}

async function add(request: Request, machine: Machine): Promise<Result> {
  const notes: string[] = [];
  const conf = decodeStaticConf(request, notes);
  for (const note of notes) machine.warn(`static: ${note}`);
  return { interfaces: [], ...conf };
}

/** Each address is in the result, and with its gateway where one is configured. */
async function check(request: Request): Promise<void> {
  const conf = decodeStaticConf(request);
  const previous = requirePrevResult(request);
  const problems = conf.ips.flatMap(({ address: { address }, gateway }): Problem[] => {
    const path = `prevResult address ${formatAddress(address)}`;
    const found = previous.ips.filter((ip) => equalAddress(ip.address.address, address));
    if (found.length === 0) return [{ path, got: 'nothing', want: 'as configured' }];
    if (!gateway || found.some((ip) => ip.gateway && equalAddress(ip.gateway, gateway))) return [];
    return [{ path: `${path} gateway`, got: showAddress(found[0]?.gateway), want: showAddress(gateway) }];
  });
  if (problems.length > 0) throw driftError(problems);
}

const showAddress = (a: Address | undefined): string => (a ? formatAddress(a) : 'nothing');

/** Holds nothing: there is nothing to free, to collect, or to run out of. */
export const staticIpam: Plugin<Machine> = {
  name: 'static',
  about: 'gives the addresses that the configuration or the runtime names',
  decode: decodeStaticConf,
  add,
  async del() {},
  check,
  async gc(request) {
    readValidAttachments(request.conf);
  },
  async status(request) {
    decodeStaticConf(request);
  },
};

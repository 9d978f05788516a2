/**
 * The one table of protocol versions, and the result's older shapes: a result is 1.1 in memory and takes another form only
 * where it enters (prevResult, a delegated plugin's answer) or leaves (standard output).
 */

import { Fields, type JsonObject } from '../decode.ts';
import { formatAddress } from '../net/address.ts';
import { formatPrefix } from '../net/prefix.ts';
import type { Command, Dns, Interface, IpConfig, Result, Route } from './types.ts';

export const supportedVersions = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;

export const newestVersion = '1.1.0';

/** The version a configuration without `cniVersion` has: the field came with 0.1.0's successor. */
export const oldestVersion = '0.1.0';

/** The version that brought each command (spec, "Released versions"). VERSION answers whatever the configuration says. */
export const commandSince: Record<Command, string> = {
  ADD: '0.1.0',
  DEL: '0.1.0',
  VERSION: '0.1.0',
  CHECK: '0.4.0',
  GC: '1.1.0',
  STATUS: '1.1.0',
};

export const isSupported = (version: string): boolean => (supportedVersions as readonly string[]).includes(version);

/** Whether one supported version is the other or newer. */
export const atLeast = (version: string, other: string): boolean =>
  (supportedVersions as readonly string[]).indexOf(version) >= (supportedVersions as readonly string[]).indexOf(other);

export const emptyResult = (): Result => ({ interfaces: [], ips: [], routes: [], dns: {} });

/** Leaves out what is undefined, empty text, zero or an empty list: what Go's `omitempty` leaves out. */
function omitEmpty(object: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(object).filter(
      ([, v]) => v !== undefined && v !== '' && v !== 0 && !(Array.isArray(v) && v.length === 0),
    ),
  );
}

function encodeInterface(i: Interface, version: string): JsonObject {
  const old = { name: i.name, ...omitEmpty({ mac: i.mac, sandbox: i.sandbox }) };
  return atLeast(version, '1.0.0')
    ? { ...old, ...omitEmpty({ mtu: i.mtu, socketPath: i.socketPath, pciID: i.pciID }) }
    : old;
}

function encodeIp(ip: IpConfig, version: string): JsonObject {
  return {
    ...(atLeast(version, '1.0.0') ? {} : { version: String(ip.address.address.family) }),
    ...(ip.interface === undefined ? {} : { interface: ip.interface }),
    address: formatPrefix(ip.address),
    ...(ip.gateway === undefined ? {} : { gateway: formatAddress(ip.gateway) }),
  };
}

/** Routes carry their 1.1 attributes in 0.3 and later too, as with the reference plugins: a reader that knows none skips them. */
function encodeRoute(r: Route): JsonObject {
  return {
    dst: formatPrefix(r.dst),
    ...(r.gw === undefined ? {} : { gw: formatAddress(r.gw) }),
    ...omitEmpty({ mtu: r.mtu, advmss: r.advmss, priority: r.priority }),
    ...(r.table === undefined ? {} : { table: r.table }),
    ...(r.scope === undefined ? {} : { scope: r.scope }),
  };
}

/** 0.1.0 and 0.2.0: the first address of each family with that family's routes (spec 0.2.0, "Result"). */
function encodeOldest(result: Result, version: string): JsonObject {
  const out: JsonObject = { cniVersion: version };
  for (const family of [4, 6] as const) {
    const ip = result.ips.find((i) => i.address.address.family === family);
    if (!ip) continue;
    const routes = result.routes.filter((r) => r.dst.address.family === family);
    out[`ip${family}`] = {
      ip: formatPrefix(ip.address),
      ...(ip.gateway === undefined ? {} : { gateway: formatAddress(ip.gateway) }),
      ...omitEmpty({
        routes: routes.map((r) => ({ dst: formatPrefix(r.dst), ...(r.gw ? { gw: formatAddress(r.gw) } : {}) })),
      }),
    };
  }
  out['dns'] = omitEmpty({ ...result.dns });
  return out;
}

/** The result in the shape of a protocol version. */
export function encodeResult(result: Result, version: string): JsonObject {
  if (!atLeast(version, '0.3.0')) return encodeOldest(result, version);
  const dns = omitEmpty({ ...result.dns });
  return {
    cniVersion: version,
    ...omitEmpty({
      interfaces: result.interfaces.map((i) => encodeInterface(i, version)),
      ips: result.ips.map((ip) => encodeIp(ip, version)),
      routes: result.routes.map(encodeRoute),
    }),
    ...(Object.keys(dns).length > 0 || !atLeast(version, '1.0.0') ? { dns } : {}),
  };
}

const maxUint32 = 0xffff_ffff;

export function decodeRoute(f: Fields): Route | undefined {
  const dst =
    f.prefix('dst') ?? (f.has('dst') ? undefined : f.wrong('dst', 'the destination as a prefix such as "0.0.0.0/0"'));
  const gw = f.address('gw');
  const attributes = {
    mtu: f.integer('mtu', 0, maxUint32),
    advmss: f.integer('advmss', 0, maxUint32),
    priority: f.integer('priority', 0, maxUint32),
    table: f.integer('table', 0, maxUint32),
    scope: f.integer('scope', 0, 255),
  };
  if (!dst) return undefined;
  if (gw && gw.family !== dst.address.family)
    f.wrong('gw', `an IPv${dst.address.family} address, as the destination is one`);
  const set = Object.entries(attributes).filter(([, v]) => v !== undefined);
  return { dst, ...(gw ? { gw } : {}), ...Object.fromEntries(set) };
}

export function decodeDns(f: Fields): Dns {
  const lists = { nameservers: f.strings('nameservers'), search: f.strings('search'), options: f.strings('options') };
  const domain = f.string('domain');
  return {
    ...(domain ? { domain } : {}),
    ...Object.fromEntries(Object.entries(lists).filter(([, list]) => list !== undefined)),
  };
}

function decodeInterface(f: Fields): Interface {
  f.ignore('version');
  const name = f.string('name') ?? '';
  const texts = {
    mac: f.string('mac'),
    sandbox: f.string('sandbox'),
    socketPath: f.string('socketPath'),
    pciID: f.string('pciID'),
  };
  const mtu = f.integer('mtu', 0, maxUint32);
  return { name, ...omitEmpty({ ...texts, mtu }) };
}

function decodeIp(f: Fields): IpConfig | undefined {
  f.ignore('version');
  const address = f.prefix('address');
  const gateway = f.address('gateway');
  const index = f.integer('interface', -1, maxUint32);
  if (!address) return f.has('address') ? undefined : f.wrong('address', 'an address with a prefix length');
  return {
    address,
    ...(gateway ? { gateway } : {}),
    ...(index === undefined || index < 0 ? {} : { interface: index }),
  };
}

function decodeOldest(f: Fields): Result {
  const result = emptyResult();
  for (const family of [4, 6] as const) {
    f.object(`ip${family}`, (ip) => {
      const address = ip.prefix('ip');
      const gateway = ip.address('gateway');
      if (address) result.ips.push({ address, ...(gateway ? { gateway } : {}) });
      result.routes.push(...(ip.objects('routes', decodeRoute) ?? []));
    });
  }
  result.dns = f.object('dns', decodeDns) ?? {};
  return result;
}

/**
 * A result in the shape of its own `cniVersion` (or of `version`, when it names none) → the newest shape.
 * Throws ConfigError with the paths of wrong fields, below `path`.
 */
export function decodeResult(value: unknown, version: string, path: string): Result {
  return Fields.read(value, path, (f) => {
    const own = f.string('cniVersion') || version;
    if (!isSupported(own)) f.wrong('cniVersion', `one of ${supportedVersions.join(', ')}`);
    if (!atLeast(own, '0.3.0')) return decodeOldest(f);
    return {
      interfaces: f.objects('interfaces', decodeInterface) ?? [],
      ips: f.objects('ips', decodeIp) ?? [],
      routes: f.objects('routes', decodeRoute) ?? [],
      dns: f.object('dns', decodeDns) ?? {},
    };
  });
}

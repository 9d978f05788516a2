/**
 * host-local: leases addresses from ranges that the configuration names, with its leases in files of this node. It touches no
 * kernel; bridge and the other interface plugins call it, in this process or as a process of its own.
 */

import { readFileSync } from 'node:fs';
import { readPrevResult, readValidAttachments } from '../src/cni/conf.ts';
import { readArgs } from '../src/cni/env.ts';
import { code } from '../src/cni/error.ts';
import type { Plugin } from '../src/cni/skel.ts';
import type { Dns, IpConfig, Request, Result, Route } from '../src/cni/types.ts';
import { atLeast, decodeRoute } from '../src/cni/version.ts';
import { Fields, show } from '../src/decode.ts';
import { CniError, ConfigError, type Problem, StoreError } from '../src/errors.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { type Address, equalAddress, families, formatAddress, parseAddress } from '../src/net/address.ts';
import { parsePrefix } from '../src/net/prefix.ts';
import {
  checkRangeSets,
  decodeRange,
  decodeRangeSets,
  formatRangeSet,
  type Places,
  type Range,
  type RangeSet,
  rangeOf,
} from '../src/net/range.ts';
import { type Claimant, Leases, type Owner } from '../src/store/leases.ts';

const defaultDataDir = '/var/lib/cni/networks';

export interface HostLocalConf {
  /** In the order of the result's addresses: those of runtimeConfig, the one of `subnet`, those of `ranges`. */
  sets: RangeSet[];
  /** Where the configuration has each of the ranges. */
  places: Places;
  routes: Route[];
  resolvConf: string | undefined;
  dataDir: string;
  /** Addresses that the configuration asks for, wherever it does, each once. */
  requested: Address[];
}

/** An address, with or without a prefix length that means nothing here. */
const parseRequested = (text: string): Address | undefined =>
  text.includes('/') ? parsePrefix(text)?.address : parseAddress(text);

const wantAddress = 'an IPv4 or IPv6 address, "/" and a prefix length may follow';

function decodeIps(f: Fields): Address[] {
  return (f.strings('ips') ?? []).flatMap(
    (text, i) => parseRequested(text) ?? f.wrong(`ips[${i}]`, wantAddress, text) ?? [],
  );
}

function decodeDataDir(ipam: Fields): string {
  const dataDir = ipam.string('dataDir') || defaultDataDir;
  if (dataDir.includes('\0')) ipam.wrong('dataDir', 'the path of a folder');
  return dataDir;
}

function decodeIpam(ipam: Fields, places: Map<Range, string>, notes: string[]) {
  ipam.ignore('type');
  const sets: RangeSet[] = [];
  if (ipam.has('subnet')) {
    const range = decodeRange(ipam);
    if (range) sets.push([range]);
    if (range) places.set(range, ipam.path);
  } else {
    for (const key of ['rangeStart', 'rangeEnd', 'gateway'].filter((k) => ipam.has(k))) {
      notes.push(`${ipam.path}.${key}: ignored without ${ipam.path}.subnet`);
    }
  }
  return {
    sets: [...sets, ...decodeRangeSets(ipam, 'ranges', places)],
    routes: ipam.objects('routes', decodeRoute) ?? [],
    resolvConf: ipam.string('resolvConf') || undefined,
    dataDir: decodeDataDir(ipam),
  };
}

/** One of the optional objects that we share with other plugins: their keys are none of our business. */
function decodeShared<T>(f: Fields, key: string, decode: (fields: Fields) => T): T | undefined {
  return f.object(key, (fields) => {
    const value = decode(fields);
    fields.ignoreRest();
    return value;
  });
}

/** Protocol versions before 0.3.0 have room for one address per family (spec 0.2.0, "Result"). */
function checkCount(sets: readonly RangeSet[], request: Request): Problem[] {
  if (atLeast(request.cniVersion, '0.3.0')) return [];
  return families.flatMap((family) => {
    const count = sets.filter((set) => set[0]?.start.family === family).length;
    const want = `one at most with cniVersion "${request.cniVersion}"; 0.3.0 and newer may have several`;
    return count > 1 ? [{ path: 'ipam.ranges', got: `${count} sets of IPv${family} ranges`, want }] : [];
  });
}

/** Whether the ranges come from the runtime, which gives them with ADD, DEL and CHECK but not with STATUS. */
const rangesComeLater = (f: Fields, request: Request): boolean =>
  request.command === 'STATUS' && (decodeShared(f, 'capabilities', (c) => c.boolean('ipRanges')) ?? false);

/** The whole configuration; `notes` takes what is odd in it. Throws ConfigError with everything that is wrong. */
export function decodeHostLocalConf(request: Request, notes: string[] = []): HostLocalConf {
  const fromArgs = readArgs(request.args, ['IP']).get('IP') ?? '';
  const fromEnv = parseRequested(fromArgs);
  if (fromArgs !== '' && !fromEnv) {
    throw new CniError(code.invalidEnvironment, `CNI_ARGS: IP: got ${show(fromArgs)}, want ${wantAddress}`);
  }
  return Fields.read(
    request.conf,
    '',
    (f) => {
      const places = new Map<Range, string>();
      const args = decodeShared(f, 'args', (a) => decodeShared(a, 'cni', decodeIps));
      const runtime = decodeShared(f, 'runtimeConfig', (r) => ({
        sets: decodeRangeSets(r, 'ipRanges', places),
        ips: decodeIps(r),
      }));
      const ipam = f.object('ipam', (i) => decodeIpam(i, places, notes));
      if (!f.has('ipam')) f.wrong('ipam', 'an object with the ranges to lease from');
      const sets = [...(runtime?.sets ?? []), ...(ipam?.sets ?? [])];
      if (sets.length === 0 && f.problems.length === 0 && !rangesComeLater(f, request)) {
        f.wrong('ipam.ranges', 'at least one range set, here, as ipam.subnet or as runtimeConfig.ipRanges', undefined);
      }
      f.problems.push(...checkRangeSets(sets, places), ...checkCount(sets, request));
      f.ignoreRest();
      const requested = [...(fromEnv ? [fromEnv] : []), ...(args ?? []), ...(runtime?.ips ?? [])];
      return {
        sets,
        places,
        routes: ipam?.routes ?? [],
        resolvConf: ipam?.resolvConf,
        dataDir: ipam?.dataDir ?? defaultDataDir,
        requested: requested.filter((a, i) => requested.findIndex((b) => equalAddress(a, b)) === i),
      };
    },
    notes,
  );
}

/** The store, from what alone freeing needs: wrong ranges must not keep a lease alive. */
function openForFreeing(request: Request): Leases {
  const dataDir = Fields.read(request.conf, '', (f) => {
    const found = decodeShared(f, 'ipam', decodeDataDir);
    f.ignoreRest();
    return found ?? defaultDataDir;
  });
  return new Leases(dataDir, request.name);
}

const ownerOf = (request: Request): Owner => ({ containerId: request.containerId, ifname: request.ifname });

/** resolv.conf(5) → the result's DNS part. Throws ConfigError when the file cannot be read. */
function readResolvConf(file: string): Dns {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const want = `a file that can be read (${(error as NodeJS.ErrnoException).code})`;
    throw new ConfigError([{ path: 'ipam.resolvConf', got: show(file), want }]);
  }
  const dns: Dns = {};
  for (const line of text.split('\n')) {
    const [key = '', ...values] = line.trim().split(/\s+/);
    if (values.length === 0 || /^[#;]/.test(key)) continue;
    if (key === 'nameserver') dns.nameservers = [...(dns.nameservers ?? []), values[0]!];
    else if (key === 'domain') dns.domain = values[0]!;
    else if (key === 'search' || key === 'options') dns[key] = [...(dns[key] ?? []), ...values];
  }
  return dns;
}

/** Which requested address each set is to give. Throws StoreError when some are left that no set can give. */
function assign({ sets, requested }: HostLocalConf): (Address | undefined)[] {
  const left = [...requested];
  const assigned = sets.map((set) => {
    const index = left.findIndex((a) => rangeOf(set, a));
    return index < 0 ? undefined : left.splice(index, 1)[0];
  });
  if (left.length === 0) return assigned;
  const ranges = sets.map(formatRangeSet).join(' and ');
  const message = `no range set is left for the requested addresses ${left.map(formatAddress).join(' ')}`;
  throw new StoreError('outside', `${message}: each set gives one address, and there are ${ranges}`);
}

/** One address of every set, or none at all. */
function reserveAll(leases: Leases, owner: Claimant, conf: HostLocalConf): IpConfig[] {
  const wanted = assign(conf);
  const ips: IpConfig[] = [];
  try {
    for (const [i, set] of conf.sets.entries()) ips.push(leases.reserve(owner, i, set, wanted[i]));
  } catch (error) {
    // only what this ADD leased: an earlier one's leases stay
    leases.release(
      owner,
      ips.map((ip) => ip.address.address),
    );
    throw error;
  }
  return ips;
}

async function add(request: Request, machine: Machine): Promise<Result> {
  const notes: string[] = [];
  const conf = decodeHostLocalConf(request, notes);
  for (const note of notes) machine.warn(note);
  const dns = conf.resolvConf ? readResolvConf(conf.resolvConf) : {};
  const ips = reserveAll(new Leases(conf.dataDir, request.name), request, conf);
  return { interfaces: [], ips, routes: conf.routes, dns };
}

async function del(request: Request): Promise<void> {
  openForFreeing(request).release(ownerOf(request));
}

const formatHolder = (owner: Owner | undefined): string =>
  owner ? `leased to container ${owner.containerId}, interface ${owner.ifname}` : 'not leased';

/** What the store says otherwise than prevResult: its addresses of our ranges must be leased to the owner, and no others. */
function differences(request: Request, conf: HostLocalConf, leases: Leases): Problem[] {
  const owner = ownerOf(request);
  const held = leases.held(owner);
  const previous = readPrevResult(request.conf, request.cniVersion);
  const want = formatHolder(owner);
  if (!previous) return held.length > 0 ? [] : [{ path: `leases of network ${request.name}`, got: 'none', want }];
  const expected = previous.ips.map((ip) => ip.address.address).filter((a) => conf.sets.some((set) => rangeOf(set, a)));
  const missing = expected.filter((a) => !held.some((h) => equalAddress(a, h)));
  const surplus = held.filter((h) => !expected.some((a) => equalAddress(a, h)));
  const problems = [
    ...missing.map((a) => ({ path: `lease ${formatAddress(a)}`, got: formatHolder(leases.ownerOf(a)), want })),
    ...surplus.map((a) => ({
      path: `lease ${formatAddress(a)}`,
      got: want,
      want: 'not leased: prevResult has it not',
    })),
  ];
  if (held.length > 0 || problems.length > 0) return problems;
  return [{ path: `leases of network ${request.name}`, got: 'none', want }];
}

async function check(request: Request): Promise<void> {
  const conf = decodeHostLocalConf(request);
  const problems = differences(request, conf, new Leases(conf.dataDir, request.name));
  if (problems.length === 0) return;
  const text = problems.map((p) => `${p.path}: got ${p.got}, want ${p.want}`).join('; ');
  throw new CniError(code.drift, `leases differ: ${text}`, JSON.stringify(problems));
}

async function gc(request: Request): Promise<void> {
  const valid = readValidAttachments(request.conf);
  const attachments = new Set(valid.map((a) => `${a.containerId}\0${a.ifname}`));
  const containers = new Set(valid.map((a) => a.containerId));
  openForFreeing(request).sweep(({ containerId, ifname }) =>
    ifname === '' ? containers.has(containerId) : attachments.has(`${containerId}\0${ifname}`),
  );
}

/** Throws CniError 50 when an ADD could not be served. */
async function status(request: Request): Promise<void> {
  const conf = decodeHostLocalConf(request);
  const leases = new Leases(conf.dataDir, request.name);
  try {
    leases.requireWritable();
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    throw new CniError(code.notAvailable, `cannot write leases: ${error.message}`, '', { cause: error });
  }
  const full = leases
    .usage(conf.sets)
    .flatMap(({ size, taken }, i) =>
      taken >= size ? [`range set ${i} (${formatRangeSet(conf.sets[i]!)}): all ${size} addresses are leased`] : [],
    );
  if (full.length > 0) throw new CniError(code.notAvailable, `no free address in ${full.join('; ')}`);
}

/** Keeps leases; the `ips`, `routes` and `dns` of its result are for the interface plugin that called it. */
export const hostLocal: Plugin<Machine> = {
  name: 'host-local',
  about: 'leases addresses from the ranges of its configuration, kept in files of this node',
  decode: decodeHostLocalConf,
  add,
  del,
  check,
  gc,
  status,
};

/** The addresses leased to a request's attachment: for interface plugins that must know them before they give them back. */
export const heldAddresses = (request: Request): Address[] => openForFreeing(request).held(ownerOf(request));

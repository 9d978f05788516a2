/** The configuration of `tuning`: every key of the reference plugin 1.9.1, checked. */

import { protocolKeys } from '../../src/cni/conf.ts';
import type { Request } from '../../src/cni/types.ts';
import { Fields, isObject, show } from '../../src/decode.ts';
import { argsMac, decodeMac, decodeMacKey } from '../attachment/conf.ts';

export const defaultDataDir = '/run/cni/tuning';

/** Attributes of the container's interface; what is absent is left as it is. */
export interface LinkTuning {
  mac?: string;
  promisc?: boolean;
  mtu?: number;
  allmulti?: boolean;
  txQLen?: number;
}

export interface SysctlTuning {
  /** As the configuration spells it: what the allow list is about. */
  name: string;
  /** Path below /proc/sys, the interface's name put in. */
  key: string;
  value: string;
}

export interface TuningConf {
  dataDir: string;
  sysctls: SysctlTuning[];
  link: LinkTuning;
}

const maxUint32 = 0xffff_ffff;

/** "net.ipv4.conf.IFNAME.x" or with slashes → the path below /proc/sys; undefined for what is not the network's. */
export function sysctlKey(name: string, ifname: string): string | undefined {
  const parts = name.replaceAll('.', '/').split('/');
  const path = parts.filter((part) => part !== '').join('/');
  if (!/^net\/[^\s=\u0000-\u001f]+$/.test(path)) return undefined;
  return path.replace('IFNAME', () => ifname);
}

function decodeSysctls(f: Fields, ifname: string): SysctlTuning[] {
  const want = 'an object of sysctls and their values';
  const value = f.raw('sysctl', want);
  if (value === undefined) return [];
  if (!isObject(value)) return f.wrong('sysctl', want) ?? [];
  return Object.entries(value).flatMap(([name, text]) => {
    const path = `sysctl[${show(name)}]`;
    const key = sysctlKey(name, ifname);
    if (!key) return f.wrong(path, 'a sysctl of the network, such as "net.core.somaxconn"', name) ?? [];
    if (typeof text !== 'string' || text.includes('\0')) return f.wrong(path, 'a string', text) ?? [];
    return [{ name, key, value: text }];
  });
}

/** The keys that the configuration and `args` both have. */
function decodeLink(f: Fields): LinkTuning {
  const fields = {
    mac: decodeMacKey(f),
    promisc: f.boolean('promisc'),
    mtu: f.integer('mtu', 0, 65_535) || undefined,
    allmulti: f.boolean('allmulti'),
    txQLen: f.integer('txQLen', 0, maxUint32),
  };
  return Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== undefined)) as LinkTuning;
}

/** A later spelling of a sysctl takes the place of an earlier one. */
const merge = (...lists: SysctlTuning[][]): SysctlTuning[] => [
  ...new Map(lists.flat().map((sysctl) => [sysctl.key, sysctl])).values(),
];

/** One sysctl with two values, spelled with dots and with slashes. */
function checkConflicts(f: Fields, sysctls: readonly SysctlTuning[]): void {
  for (const [i, { key, name, value }] of sysctls.entries()) {
    const other = sysctls.slice(0, i).find((s) => s.key === key && s.value !== value);
    if (other) f.wrong(`sysctl[${show(name)}]`, `the value of ${show(other.name)}, which is the same sysctl`, value);
  }
}

/** Keys of the top level's "sysctl" that stand there twice: JSON.parse keeps the last and does not tell. */
export function duplicateSysctls(stdin: string): string[] {
  // no alternative inside the repetition: the matcher would need its stack for every letter of a long text
  const tokens = stdin.match(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\]:,]/g) ?? [];
  const seen = new Set<string>();
  const duplicates: string[] = [];
  let depth = 0;
  let key = '';
  for (const [i, token] of tokens.entries()) {
    if (token === '{' || token === '[') depth++;
    else if (token === '}' || token === ']') depth--;
    else if (tokens[i + 1] !== ':' || !token.startsWith('"')) continue;
    else if (depth === 1) key = JSON.parse(token) as string;
    else if (depth === 2 && key === 'sysctl') {
      const name = JSON.parse(token) as string;
      if (seen.has(name)) duplicates.push(name);
      seen.add(name);
    }
  }
  return duplicates;
}

/**
 * The interface's attributes are those of `args`, else of runtimeConfig, of CNI_ARGS, of the configuration, in this order.
 * Throws ConfigError with every wrong field; `notes` takes remarks on keys.
 */
export function decodeTuningConf(request: Request, notes: string[] = []): TuningConf {
  const fromEnvironment = argsMac(request);
  return Fields.read(
    request.conf,
    '',
    (f) => {
      f.ignore(...protocolKeys);
      const own = decodeSysctls(f, request.ifname);
      checkConflicts(f, own);
      for (const name of duplicateSysctls(request.stdin)) f.wrong(`sysctl[${show(name)}]`, 'one value', 'several');
      const link = decodeLink(f);
      const runtime = f.object('runtimeConfig', decodeMac);
      const args = f.object('args', (a) => {
        a.ignoreRest();
        return a.object('cni', (cni) => {
          cni.ignoreRest();
          return { sysctls: decodeSysctls(cni, request.ifname), link: decodeLink(cni) };
        });
      });
      const mac = runtime ?? fromEnvironment;
      return {
        dataDir: f.string('dataDir') || defaultDataDir,
        sysctls: merge(own, args?.sysctls ?? []),
        link: { ...link, ...(mac ? { mac } : {}), ...args?.link },
      };
    },
    notes,
  );
}

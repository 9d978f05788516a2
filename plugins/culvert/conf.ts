/** What the plugin `culvert` is told: its configuration (the agent's conflist) and the node as the agent wrote it. */

import { readFileSync } from 'node:fs';
import { protocolKeys } from '../../src/cni/conf.ts';
import { readArgs } from '../../src/cni/env.ts';
import { code } from '../../src/cni/error.ts';
import type { Dns, Request } from '../../src/cni/types.ts';
import { Fields, isObject } from '../../src/decode.ts';
import { CniError } from '../../src/errors.ts';
import { type Address, parseAddress } from '../../src/net/address.ts';
import { parseMac } from '../../src/net/mac.ts';
import { networkOf, type Prefix, parsePrefix } from '../../src/net/prefix.ts';
import { podCidrSets, type RangeSet } from '../../src/net/range.ts';
import type { Bandwidth } from '../../src/plan/bandwidth.ts';
import { decodeRuntimeBandwidth } from '../bandwidth/conf.ts';
import { decodeMappings, type Mapping } from '../portmap/conf.ts';

export const defaultNodeFile = '/run/culvert/node.json';
const defaultLeaseDir = '/var/lib/cni/networks';

export interface CulvertConf {
  nodeFile: string;
  /** Addresses asked for by runtimeConfig.ips, args.cni.ips or CNI_ARGS IP. */
  requested: readonly Address[];
  mac: string | undefined;
  /** runtimeConfig.portMappings */
  mappings: Mapping[];
  /** runtimeConfig.bandwidth */
  bandwidth: Bandwidth;
  /** runtimeConfig.dns */
  dns: Dns;
}

/** node.json: what the agent tells plugins of this node. */
export interface Node {
  attach: 'ptp' | 'bridge';
  podCIDRs: readonly Prefix[];
  addresses: readonly Address[];
  mtu: number;
  dataDir: string;
  bridge: string;
}

/** Addresses as runtimes write them, with or without a prefix length. */
function addressList(f: Fields, key: string): Address[] {
  return (f.strings(key) ?? []).flatMap(
    (text, i) => parseAddress(text.split('/')[0] ?? '') ?? f.wrong(`${key}[${i}]`, 'an IP address', text) ?? [],
  );
}

function decodeAsked(f: Fields): { requested: Address[]; mac: string | undefined } {
  const requested = addressList(f, 'ips');
  const text = f.string('mac');
  f.ignoreRest();
  return { requested, mac: text ? (parseMac(text) ?? f.wrong('mac', 'six octets, not a group address')) : undefined };
}

/** `dns` as runtimes spell it (CONVENTIONS.md of the specification), in the result's words. */
function decodeRuntimeDns(f: Fields): Dns {
  f.ignoreRest();
  const lists = { nameservers: f.strings('servers'), search: f.strings('searches'), options: f.strings('options') };
  return Object.fromEntries(Object.entries(lists).filter(([, list]) => list !== undefined));
}

const decodeRuntime = (f: Fields) => ({
  mappings: decodeMappings(f),
  bandwidth: decodeRuntimeBandwidth(f),
  dns: f.object('dns', decodeRuntimeDns),
  ...decodeAsked(f),
});

/** Throws ConfigError with every wrong field, CniError 4 for CNI_ARGS. */
export function decodeCulvertConf(request: Request, notes: string[] = []): CulvertConf {
  const args = readArgs(request.args, [
    'IP',
    'MAC',
    'K8S_POD_NAMESPACE',
    'K8S_POD_NAME',
    'K8S_POD_INFRA_CONTAINER_ID',
    'K8S_POD_UID',
  ]);
  return Fields.read(
    request.conf,
    '',
    (f) => {
      f.ignore(...protocolKeys);
      const nodeFile = f.string('nodeFile') || defaultNodeFile;
      const runtime = f.object('runtimeConfig', decodeRuntime);
      const fromArgs = f.object('args', (a) => {
        a.ignoreRest();
        return a.object('cni', decodeAsked);
      });
      const fromEnv = Fields.read(
        { ips: args.has('IP') ? [args.get('IP')] : [], mac: args.get('MAC') },
        'CNI_ARGS',
        decodeAsked,
      );
      const sources = [runtime, fromArgs, fromEnv];
      return {
        nodeFile,
        requested: sources.find((s) => (s?.requested.length ?? 0) > 0)?.requested ?? [],
        mac: sources.find((s) => s?.mac)?.mac,
        mappings: runtime?.mappings ?? [],
        bandwidth: runtime?.bandwidth ?? { shaped: [], unshaped: [] },
        dns: runtime?.dns ?? {},
      };
    },
    notes,
  );
}

function decodeNode(f: Fields): Node {
  f.ignoreRest();
  const podCIDRs = (f.strings('podCIDRs') ?? []).flatMap(
    (text, i) => parsePrefix(text) ?? f.wrong(`podCIDRs[${i}]`, 'a prefix', text) ?? [],
  );
  if (podCIDRs.length === 0) f.wrong('podCIDRs', 'one prefix at least');
  const attach = f.string('attach') ?? 'ptp';
  if (attach !== 'ptp' && attach !== 'bridge') f.wrong('attach', '"ptp" or "bridge"');
  return {
    attach: attach === 'bridge' ? 'bridge' : 'ptp',
    podCIDRs: podCIDRs.map(networkOf),
    addresses: addressList(f, 'addresses'),
    mtu: f.integer('mtu', 68, 65_535) ?? f.wrong('mtu', 'the MTU of pods') ?? 0,
    dataDir: f.string('dataDir') || defaultLeaseDir,
    bridge: f.string('bridge') || 'culvert0',
  };
}

/** The node. Throws CniError 50 when the agent has not written it: this node cannot attach pods (yet). */
export function readNode(file: string): Node {
  try {
    const document: unknown = JSON.parse(readFileSync(file, 'utf8'));
    if (isObject(document) && document['notReady'] !== undefined) throw new Error(String(document['notReady']));
    return Fields.read(document, file, decodeNode);
  } catch (error) {
    throw new CniError(
      code.notAvailable,
      `this node is not ready for pods: ${(error as Error).message}`,
      `the agent writes ${file}: is "culvert agent" running, and what does its log say?`,
      { cause: error },
    );
  }
}

/** Where the leases are, also when the node file is gone, as after a reboot: DEL and GC need no more of it. */
export function leaseDir(file: string): string {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return isObject(value) && typeof value['dataDir'] === 'string' ? value['dataDir'] : defaultLeaseDir;
  } catch {
    return defaultLeaseDir;
  }
}

/** The sets to lease from, one per family. */
export const podRanges = (node: Node): RangeSet[] => podCidrSets(node.podCIDRs);

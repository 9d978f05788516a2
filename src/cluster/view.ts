/** A document's `nodes` and `traffic` → the cluster view. All or nothing: every wrong field and every clash between nodes is named. */

import { hash } from 'node:crypto';
import { z } from 'zod';
import { isObject, show } from '../decode.ts';
import { ConfigError, type Problem } from '../errors.ts';
import { MappedList } from '../mapped-list.ts';
import { formatAddress, isGlobalUnicast, parseAddress } from '../net/address.ts';
import { linkLocalFrom, macFrom } from '../net/mac.ts';
import { hasHostBits, parsePrefix } from '../net/prefix.ts';
import {
  type ClusterNode,
  type ClusterTraffic,
  type ClusterView,
  type NodeAddress,
  nodeAddress,
  type PodCidr,
  podCidr,
} from '../plan/cluster.ts';
import { Claims } from './claims.ts';
import { clashesOf } from './clashes.ts';
import { check, unknownKeys } from './document.ts';
import { autonomousSystem, betweenSites, mode } from './schema.ts';

const wantName = 'a node name: letters, digits, "-", "." and "_", at most 253';
const wantAddress = 'a unicast address such as "192.168.1.11" or "fd00:1::11", without a prefix length';
const wantPrefix =
  'a network such as "10.244.1.0/24" or "fd00:244:1::/64", bits after the prefix zero, room for four addresses or more';

const wantKey = 'a WireGuard public key as "culvert keys" prints it: 44 characters of base64';
const wantSite = 'a name: letters, digits, "-", "." and "_", at most 63';

function toNodeAddress(text: string): NodeAddress | undefined {
  const address = parseAddress(text);
  return address && isGlobalUnicast(address) ? nodeAddress(address) : undefined;
}

function toPodCidr(text: string): PodCidr | undefined {
  const prefix = parsePrefix(text);
  if (!prefix || prefix.length === 0 || hasHostBits(prefix)) return undefined;
  return prefix.length <= (prefix.address.family === 4 ? 30 : 126) ? podCidr(prefix) : undefined;
}

/** A text that stands for something: read once, since 5,000 nodes have 20,000. */
const parsed = <T>(want: string, parse: (text: string) => T | undefined) =>
  z.string(want).transform((text, { addIssue }): T => {
    const value = parse(text);
    if (value === undefined) addIssue(want);
    return value as T; // with an issue nobody gets it
  });

const atMostOnePerFamily = (addresses: readonly (NodeAddress | undefined)[]): boolean =>
  new Set(addresses.map((a) => a?.address.family)).size === addresses.length;

const nodeSchema = z.object(
  {
    name: z.string(wantName).regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}$/, wantName),
    addresses: z
      .array(parsed(wantAddress, toNodeAddress), 'a list of addresses')
      .min(1, 'at least one address')
      .refine(atMostOnePerFamily, 'at most one IPv4 and one IPv6 address'),
    podCIDRs: z.array(parsed(wantPrefix, toPodCidr), 'a list of networks').min(1, 'at least one network'),
    publicKey: z
      .string(wantKey)
      .regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/, wantKey)
      .optional(),
    site: z
      .string(wantSite)
      .regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/, wantSite)
      .optional(),
    as: autonomousSystem.optional(),
    routeReflector: z.boolean('true or false').optional(),
  },
  'an object with name, addresses and podCIDRs',
);

const traffic = {
  mode,
  betweenSites,
  sameSubnet: z.enum(['tunnel', 'direct'], '"tunnel" or "direct"').default('tunnel'),
};
const wantTraffic = 'an object with mode, betweenSites and sameSubnet';
const trafficSchema = z.object(
  { ...traffic, alsoAccept: z.object(traffic, wantTraffic).optional() },
  `${wantTraffic}, and alsoAccept during a change`,
);

/** What stands as `traffic`; throws ConfigError whose paths begin with `path`. */
export function decodeTraffic(value: unknown, path: string, notes: string[] = []): ClusterTraffic {
  const traffic = check(trafficSchema, value, path);
  notes.push(...unknownKeys(trafficSchema, value, path));
  return traffic;
}

/** A document's `traffic`, if it has one; what is wrong with it is added to `problems`. */
function trafficOf(value: unknown, problems: Problem[], notes: string[]): ClusterTraffic | undefined {
  if (value === undefined) return undefined;
  try {
    return decodeTraffic(value, 'traffic', notes);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems);
    return undefined;
  }
}

const knownKeys = ['traffic', 'nodes'];

/** One entry of `nodes`; throws ConfigError whose paths begin with `path`. */
export function decodeNode(value: unknown, path: string): ClusterNode {
  const { name, addresses, podCIDRs, publicKey, site, as, routeReflector } = check(nodeSchema, value, path);
  const mac = macFrom(`vtep\0${name}`, (seed) => hash('sha256', seed));
  return {
    name,
    mac,
    linkLocal: formatAddress(linkLocalFrom(mac)),
    addresses,
    podCIDRs,
    ...(publicKey !== undefined && { publicKey }),
    ...(site !== undefined && { site }),
    ...(as !== undefined && { as }),
    ...(routeReflector !== undefined && { routeReflector }),
  };
}

/** Decodes documents one after another; a node whose entry has not changed is not decoded again (5,000 cost 100 ms). */
export class ViewDecoder {
  /** By the entry itself: a file read entry by entry hands out the same again. */
  readonly #byObject = new MappedList<unknown, ClusterNode | undefined>();
  /** By its text: a file parsed whole does not. */
  #byText = new Map<string, ClusterNode>();
  readonly #claims = new Claims();

  /** Throws ConfigError. `notes` takes remarks on unknown keys. */
  decode(value: unknown, notes: string[] = []): ClusterView {
    const list = isObject(value) ? value['nodes'] : undefined;
    if (!isObject(value) || !Array.isArray(list)) {
      throw new ConfigError([
        { path: 'nodes', got: show(list ?? value), want: 'a list of nodes, each with name, addresses and podCIDRs' },
      ]);
    }
    const texts = new Map<string, ClusterNode>();
    const problems: Problem[] = [];
    const decodeOne = (item: unknown, i: number) => {
      const text = JSON.stringify(item) ?? '';
      const node = this.#byText.get(text) ?? decodeNew(item, i, problems, notes);
      if (!node) return undefined;
      texts.set(text, node);
      return node;
    };
    const nodes = this.#byObject.map(list, decodeOne).filter((node) => node !== undefined);
    for (const key of Object.keys(value))
      if (!knownKeys.includes(key)) notes.push(`${key}: unknown key, ignored; known are ${knownKeys.join(' and ')}`);
    const traffic = trafficOf(value['traffic'], problems, notes);
    if (problems.length === 0 && !this.#claims.take(nodes)) {
      problems.push(...clashesOf(nodes).map(({ path, got, want }) => ({ path, got, want })));
    }
    if (problems.length > 0) throw new ConfigError(problems);
    this.#byText = texts;
    return { nodes, ...(traffic && { traffic }) };
  }
}

function decodeNew(item: unknown, i: number, problems: Problem[], notes: string[]): ClusterNode | undefined {
  try {
    const node = decodeNode(item, `nodes[${i}]`);
    notes.push(...unknownKeys(nodeSchema, item, `nodes[${i}]`));
    return node;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems);
    return undefined;
  }
}

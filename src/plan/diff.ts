/**
 * The only diff in the project: what was found × what should be → the changes between them, in the order in which they can be
 * made. New paths are laid before old ones go (make before break), and what falls with its link is not removed by itself.
 */

import { middleOf } from '../changed.ts';
import {
  type AddressState,
  type FdbState,
  type LinkState,
  type NamespaceState,
  type NeighbourState,
  type PeerState,
  type RouteState,
  type RuleState,
  routeProtocol,
  type SysctlState,
  type TableState,
  type VlanState,
  type WireGuardState,
} from './host.ts';

/** Attributes of a link that can be set while it lives. */
export type LinkAttributes = Partial<Omit<LinkState, 'name' | 'make'>>;

/** What a link becomes when it moves. */
export interface MovedLink {
  name: string;
  /** Path of the namespace. */
  netns?: string;
  alias?: string;
  group?: number;
}

/** One change; `was` is what stood there before, for messages. */
export type Change =
  | { op: 'add-link'; link: LinkState }
  | { op: 'set-link'; name: string; set: LinkAttributes; was: LinkAttributes | undefined }
  | { op: 'delete-link'; name: string }
  /** Renames a link and, in the same step, takes it to another namespace and labels it. The diff makes none. */
  | { op: 'move-link'; name: string; to: MovedLink }
  | { op: 'set-sysctl'; sysctl: SysctlState; was: string | undefined }
  | { op: 'add-address'; address: AddressState }
  | { op: 'delete-address'; address: AddressState }
  | { op: 'add-vlan'; vlan: VlanState }
  | { op: 'delete-vlan'; vlan: VlanState }
  | { op: 'replace-neighbour'; neighbour: NeighbourState; was: NeighbourState | undefined }
  | { op: 'delete-neighbour'; neighbour: NeighbourState }
  | { op: 'replace-fdb'; fdb: FdbState; was: FdbState | undefined }
  | { op: 'delete-fdb'; fdb: FdbState }
  | { op: 'set-wireguard'; wireguard: WireGuardState; was: WireGuardState | undefined }
  | { op: 'replace-peer'; peer: PeerState; was: PeerState | undefined }
  | { op: 'delete-peer'; peer: PeerState }
  | { op: 'replace-route'; route: RouteState; was: RouteState | undefined }
  | { op: 'delete-route'; route: RouteState }
  | { op: 'add-rule'; rule: RuleState }
  | { op: 'delete-rule'; rule: RuleState }
  | { op: 'replace-table'; table: TableState; was: TableState | undefined }
  | { op: 'delete-table'; table: TableState };

const addressKey = (a: AddressState): string => `${a.dev} ${a.address}`;
const routeKey = (r: RouteState): string => `${r.prefix} ${r.table ?? 254} ${r.metric ?? 0}`;
const ruleKey = (r: RuleState): string => `${r.from} ${r.table}`;
const neighbourKey = (n: NeighbourState): string => `${n.dev} ${n.address}`;
const fdbKey = (f: FdbState): string => `${f.dev} ${f.mac}`;
const peerKey = (p: PeerState): string => `${p.dev} ${p.publicKey}`;
const vlanKey = (v: VlanState): string => `${v.dev} ${v.vid}`;
const tableKey = (t: TableState): string => `${t.family} ${t.name}`;

/** The keys whose wanted value is set and differs from the actual one. */
function differing<T extends object>(actual: T, wanted: T, keys: readonly (keyof T)[]): (keyof T)[] {
  return keys.filter((key) => wanted[key] !== undefined && wanted[key] !== actual[key]);
}

const differs = <T extends object>(actual: T, wanted: T, keys: readonly (keyof T)[]): boolean =>
  keys.some((key) => wanted[key] !== undefined && wanted[key] !== actual[key]);

const linkAttributes = [
  'address',
  'mtu',
  'alias',
  'master',
  'promisc',
  'addrGenMode',
  'hairpin',
  'isolated',
  'txChecksum',
  'up',
] as const;
/** What `ip link add` sets in the same step. */
const madeWith: readonly string[] = ['address', 'mtu'];

const pick = (link: LinkState, keys: readonly (keyof LinkState)[]): LinkAttributes =>
  Object.fromEntries(keys.filter((k) => link[k] !== undefined).map((k) => [k, link[k]])) as LinkAttributes;

/** Whether the link has to be made anew: another kind, or a property that the kernel fixes at creation. */
function needsRemake(actual: LinkState, wanted: LinkState): boolean {
  const a = actual.make;
  const w = wanted.make;
  if (w.kind === 'given' || a.kind === 'given') return false;
  if (a.kind === 'vxlan' && w.kind === 'vxlan') {
    return differs(a, w, ['id', 'port', 'local', 'device']);
  }
  if (a.kind === 'ipip' && w.kind === 'ipip') return a.local !== w.local;
  if (a.kind === 'ip6tnl' && w.kind === 'ip6tnl') return a.external !== w.external;
  return a.kind !== w.kind;
}

function diffLinks(
  actual: NamespaceState,
  wanted: NamespaceState,
): { first: Change[]; last: Change[]; gone: Set<string> } {
  const found = new Map(actual.links.map((l) => [l.name, l]));
  const first: Change[] = [];
  const gone = new Set<string>();
  for (const link of wanted.links) {
    const old = found.get(link.name);
    found.delete(link.name);
    const remake = old !== undefined && needsRemake(old, link);
    if (remake) {
      first.push({ op: 'delete-link', name: link.name });
      gone.add(link.name);
    }
    if ((!old || remake) && link.make.kind !== 'given') {
      first.push({ op: 'add-link', link });
      const set = pick(
        link,
        linkAttributes.filter((k) => !madeWith.includes(k)),
      );
      if (Object.keys(set).length > 0) first.push({ op: 'set-link', name: link.name, set, was: undefined });
    } else {
      const keys = differing<LinkState>(old ?? { name: link.name, make: link.make }, link, linkAttributes);
      if (keys.length > 0)
        first.push({ op: 'set-link', name: link.name, set: pick(link, keys), was: old ? pick(old, keys) : undefined });
    }
  }
  for (const name of found.keys()) gone.add(name);
  return { first, last: [...found.keys()].map((name) => ({ op: 'delete-link', name })), gone };
}

/** A route with our mark is ours in all that it says: an MTU that nobody planned has to go. */
const routeDiffers = (actual: RouteState, wanted: RouteState): boolean =>
  differs(actual, wanted, routeFields) ||
  (wanted.protocol === routeProtocol && actual.mtuBytes !== undefined && wanted.mtuBytes === undefined);

interface ListDiff<T> {
  set: [T, T | undefined][];
  removed: T[];
}

/** Items by key: set those that are new or different, remove those that nobody wants. */
function diffList<T extends object>(
  actual: readonly T[],
  wanted: readonly T[],
  key: (item: T) => string,
  compared: readonly (keyof T)[] | ((actual: T, wanted: T) => boolean),
): ListDiff<T> {
  const isOther = typeof compared === 'function' ? compared : (a: T, w: T) => differs(a, w, compared);
  // planners hand out the same object for the same node again: most need no key at all, and of thousands few are not in their place
  const { start, end, endBefore } = middleOf(actual, wanted);
  const rest = new Set(actual.slice(start, endBefore));
  const fresh = wanted.slice(start, end).filter((item) => !rest.delete(item));
  const left = new Map<string, T>();
  for (const item of rest) left.set(key(item), item);
  const set: [T, T | undefined][] = [];
  for (const item of fresh) {
    const k = key(item);
    const old = left.get(k);
    if (old) left.delete(k);
    if (!old || isOther(old, item)) set.push([item, old]);
  }
  return { set, removed: [...left.values()] };
}

/** A link's sysctls are gone with it, and at their defaults when it is made anew. */
function diffSysctls(actual: NamespaceState, wanted: NamespaceState, gone: ReadonlySet<string>): Change[] {
  const stays = actual.sysctls.filter((s) => !s.key.split('/').some((part) => gone.has(part)));
  const found = new Map(stays.map((s) => [s.key, s.value]));
  return wanted.sysctls
    .filter((s) => found.get(s.key) !== s.value)
    .map((sysctl) => ({ op: 'set-sysctl', sysctl, was: found.get(sysctl.key) }));
}

const peerFields = ['endpoint', 'allowedIps', 'keepaliveSeconds', 'preshared'] as const;
const routeFields = [
  'dev',
  'via',
  'encapDst',
  'src',
  'protocol',
  'scope',
  'mtuBytes',
  'advmssBytes',
  'onlink',
] as const;

/**
 * Links that get addresses come up after them: what a kernel announces of an address (arp_notify), it announces when the link
 * comes up.
 */
function splitUps(changes: readonly Change[], dressed: ReadonlySet<string>): { before: Change[]; ups: Change[] } {
  const before: Change[] = [];
  const ups: Change[] = [];
  for (const change of changes) {
    if (change.op !== 'set-link' || change.set.up !== true || !dressed.has(change.name)) {
      before.push(change);
      continue;
    }
    const { up, ...set } = change.set;
    const { up: wasUp, ...was } = change.was ?? {};
    if (Object.keys(set).length > 0) before.push({ ...change, set, was: change.was && was });
    ups.push({ op: 'set-link', name: change.name, set: { up }, was: wasUp === undefined ? undefined : { up: wasUp } });
  }
  return { before, ups };
}

/** The changes that turn `actual` into `wanted`; none when nothing differs. `actual` holds only what is ours to remove. */
export function diff(actual: NamespaceState, wanted: NamespaceState): Change[] {
  const links = diffLinks(actual, wanted);
  /** What does not fall with its link. */
  const stays = <T extends { dev?: string }>(items: readonly T[]): readonly T[] =>
    links.gone.size === 0 ? items : items.filter(({ dev }) => dev === undefined || !links.gone.has(dev));
  const addresses = diffList(stays(actual.addresses), wanted.addresses, addressKey, []);
  const vlans = diffList(stays(actual.vlans), wanted.vlans, vlanKey, ['pvid', 'untagged']);
  const neighbours = diffList(stays(actual.neighbours), wanted.neighbours, neighbourKey, ['mac']);
  const fdb = diffList(stays(actual.fdb), wanted.fdb, fdbKey, ['dst']);
  const wireguards = diffList(stays(actual.wireguards), wanted.wireguards, (w) => w.dev, ['listenPort', 'publicKey']);
  const peers = diffList(stays(actual.peers), wanted.peers, peerKey, peerFields);
  const routes = diffList(stays(actual.routes), wanted.routes, routeKey, routeDiffers);
  const rules = diffList(actual.rules, wanted.rules, ruleKey, []);
  const tables = diffList(actual.tables, wanted.tables, tableKey, ['text']);
  const { before, ups } = splitUps(links.first, new Set(addresses.set.map(([a]) => a.dev)));
  return [
    ...before,
    ...diffSysctls(actual, wanted, links.gone),
    ...addresses.set.map(([address]): Change => ({ op: 'add-address', address })),
    ...ups,
    ...wireguards.set.map(([wireguard, was]): Change => ({ op: 'set-wireguard', wireguard, was })),
    ...peers.set.map(([peer, was]): Change => ({ op: 'replace-peer', peer, was })),
    ...vlans.set.map(([vlan]): Change => ({ op: 'add-vlan', vlan })),
    ...fdb.set.map(([entry, was]): Change => ({ op: 'replace-fdb', fdb: entry, was })),
    ...neighbours.set.map(([neighbour, was]): Change => ({ op: 'replace-neighbour', neighbour, was })),
    ...routes.set.map(([route, was]): Change => ({ op: 'replace-route', route, was })),
    // a table is looked into when its routes are there
    ...rules.set.map(([rule]): Change => ({ op: 'add-rule', rule })),
    ...tables.set.map(([table, was]): Change => ({ op: 'replace-table', table, was })),
    ...rules.removed.map((rule): Change => ({ op: 'delete-rule', rule })),
    ...routes.removed.map((route): Change => ({ op: 'delete-route', route })),
    ...neighbours.removed.map((neighbour): Change => ({ op: 'delete-neighbour', neighbour })),
    ...fdb.removed.map((entry): Change => ({ op: 'delete-fdb', fdb: entry })),
    ...vlans.removed.map((vlan): Change => ({ op: 'delete-vlan', vlan })),
    ...peers.removed.map((peer): Change => ({ op: 'delete-peer', peer })),
    ...addresses.removed.map((address): Change => ({ op: 'delete-address', address })),
    ...links.last,
    ...tables.removed.map((table): Change => ({ op: 'delete-table', table })),
  ];
}

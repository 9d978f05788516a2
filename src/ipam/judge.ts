/**
 * What is to be said of leases: pure, from what was read of the files and of the host. Only `leaked` ones are ever freed without
 * being asked for by name; whatever cannot be known for certain is `unknown`, or `foreign` when another suite wrote it.
 */

import { type Address, formatAddress } from '../net/address.ts';
import type { Owner } from '../store/lease-files.ts';
import type { Identity, NamespaceIdentity } from '../store/lease-identity.ts';
import { type Found, sweeper } from '../store/leases.ts';

export const leaseStates = ['live', 'leaked', 'duplicate', 'foreign', 'unknown'] as const;
export type LeaseState = (typeof leaseStates)[number];

/** A lease as it was found in a network's folder. */
export interface NetworkLease {
  readonly network: string;
  readonly found: Found;
}

export interface JudgedLease extends NetworkLease {
  readonly state: LeaseState;
  /** In words: where it is in use, or why it is not. */
  readonly reason: string;
  /** Since it was leased. */
  readonly ageMs: number;
}

/** What is at the path of a lease's namespace, seen from where the path was given; `unseen`: nobody to be seen is there. */
export type AtPath = 'same' | 'other' | 'absent' | 'unseen';

/** What the host says. */
export interface Evidence {
  readonly bootId: string;
  /** CLOCK_MONOTONIC in ns, and the wall clock. */
  readonly now: bigint;
  readonly nowMs: number;
  atPath(netns: NamespaceIdentity): AtPath;
  /** Where else the namespace is held: certainly the same, or one with the same number. */
  heldElsewhere(netns: NamespaceIdentity): { readonly where: string; readonly certain: boolean } | undefined;
  /** The attachment's end on the host, if it is there. */
  hostLink(network: string, owner: Owner): string | undefined;
  /** Which interface of which namespace has the address. */
  addressAt(address: Address): string | undefined;
}

/** A sweep that takes longer than this to free what it took has died. */
const sweepMs = 60_000;

export function ageMsOf({ file, entry }: Found, evidence: Evidence): number {
  const identity = entry?.identity;
  return identity && identity.bootId === evidence.bootId
    ? Number((evidence.now - identity.leasedAt) / 1_000_000n)
    : evidence.nowMs - file.mtimeMs;
}

type Verdict = Pick<JudgedLease, 'state' | 'reason'>;

const isSame = (a: NamespaceIdentity, b: NamespaceIdentity): boolean =>
  a.inode === b.inode && a.device === b.device && a.changed === b.changed;

/** Whether the lease is live by its namespace alone. */
function byNamespace(netns: NamespaceIdentity, evidence: Evidence): Verdict | undefined {
  if (evidence.atPath(netns) === 'same') return { state: 'live', reason: `namespace ${netns.path}` };
  const held = evidence.heldElsewhere(netns);
  return held?.certain ? { state: 'live', reason: `namespace ${held.where}` } : undefined;
}

/** A lease of this boot whose namespace is not where it was, and without a sign of life. */
function ofLostNamespace(netns: NamespaceIdentity, evidence: Evidence): Verdict {
  const at = evidence.atPath(netns);
  const path = netns.path === '' ? `number ${netns.inode}` : netns.path;
  if (at === 'unseen') {
    return { state: 'unknown', reason: `no process to be seen from here shares the mounts that ${path} is one of` };
  }
  const held = evidence.heldElsewhere(netns);
  if (held) return { state: 'unknown', reason: `namespace ${path} is gone, but ${held.where} may be the same one` };
  if (at === 'other') return { state: 'leaked', reason: `namespace ${path} is another one by now` };
  return { state: 'leaked', reason: `namespace ${path} is gone` };
}

/** The sweeper's own lease: it stands for an address that is being freed. */
const ofSweeper = (ageMs: number): Verdict =>
  ageMs < sweepMs
    ? { state: 'unknown', reason: 'a sweep is freeing it just now' }
    : { state: 'leaked', reason: 'a sweep that was freeing it has died' };

function judgeOne(lease: NetworkLease, evidence: Evidence, attachedAgain: boolean): Verdict {
  const { found, network } = lease;
  const identity: Identity | undefined = found.entry?.identity;
  if (identity && identity.bootId !== '' && evidence.bootId !== '' && identity.bootId !== evidence.bootId) {
    return { state: 'leaked', reason: 'leased in an earlier boot' };
  }
  if (found.owner.containerId === sweeper.containerId) return ofSweeper(ageMsOf(found, evidence));
  const netns = identity?.netns;
  const live = netns && byNamespace(netns, evidence);
  if (live) return live;
  const link = attachedAgain ? undefined : evidence.hostLink(network, found.owner);
  if (link) return { state: 'live', reason: `interface ${link} of this host` };
  if (netns) return ofLostNamespace(netns, evidence);
  const where = evidence.addressAt(found.address);
  if (where) return { state: 'live', reason: where };
  return identity
    ? { state: 'unknown', reason: 'no namespace was to be seen when it was leased' }
    : { state: 'foreign', reason: 'another suite leased it, and no namespace to be seen has the address' };
}

const group = <T>(items: readonly T[], key: (item: T) => string): T[][] => [...Map.groupBy(items, key).values()];

/** Owners that are attached again, in a namespace that is there: what says that they are on this host says nothing of older leases. */
function reattached(leases: readonly NetworkLease[], evidence: Evidence): Map<string, NamespaceIdentity> {
  const live = new Map<string, NamespaceIdentity>();
  for (const { network, found } of leases) {
    const netns = found.entry?.identity?.netns;
    if (netns && found.entry?.identity?.bootId === evidence.bootId && byNamespace(netns, evidence)) {
      live.set(`${network}\0${found.text}`, netns);
    }
  }
  return live;
}

const holder = ({ containerId, ifname }: Owner): string => `container ${containerId}, interface ${ifname}`;

/** Leases of one family that one attachment has beside another of another making; without identity none can be told apart. */
function sameOwner(leases: readonly JudgedLease[]): Map<JudgedLease, string> {
  const found = new Map<JudgedLease, string>();
  for (const mine of group(leases, (l) => `${l.network}\0${l.found.text}\0${l.found.address.family}`)) {
    const makings = new Set(mine.map(({ found: f }) => makingOf(f.entry?.identity)));
    if (mine.length < 2 || (makings.size === 1 && !makings.has('?'))) continue;
    for (const lease of mine) {
      const others = mine.filter((o) => o !== lease).map((o) => formatAddress(o.found.address));
      found.set(lease, `${holder(lease.found.owner)} also has ${others.join(', ')}`);
    }
  }
  return found;
}

const makingOf = (identity: Identity | undefined): string =>
  identity?.netns ? [identity.bootId, identity.netns.inode, identity.netns.changed].join(' ') : '?';

function sameAddress(leases: readonly JudgedLease[]): Map<JudgedLease, string> {
  const found = new Map<JudgedLease, string>();
  for (const same of group(leases, (l) => formatAddress(l.found.address))) {
    for (const lease of same.length > 1 ? same : []) {
      const others = same.filter((o) => o !== lease).map((o) => `network ${o.network} to ${holder(o.found.owner)}`);
      found.set(lease, `also leased in ${others.join('; ')}`);
    }
  }
  return found;
}

/** What is to be said of all leases of a folder. `duplicate` is said of those only that are not leaked anyway. */
export function judge(leases: readonly NetworkLease[], evidence: Evidence): JudgedLease[] {
  const again = reattached(leases, evidence);
  const judged = leases.map((lease): JudgedLease => {
    const netns = lease.found.entry?.identity?.netns;
    const now = again.get(`${lease.network}\0${lease.found.text}`);
    const attachedAgain = now !== undefined && !(netns && isSame(now, netns));
    return { ...lease, ...judgeOne(lease, evidence, attachedAgain), ageMs: ageMsOf(lease.found, evidence) };
  });
  const standing = judged.filter((l) => l.state !== 'leaked');
  const owners = sameOwner(standing);
  const addresses = sameAddress(standing);
  return judged.map((lease) => {
    const why = [owners.get(lease), addresses.get(lease)].filter((text) => text !== undefined);
    return why.length === 0 ? lease : { ...lease, state: 'duplicate', reason: [...why, lease.reason].join('; ') };
  });
}

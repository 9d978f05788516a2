/**
 * What the host says about leases: boot, namespaces, our ends of pods' links, addresses. The dear looks, at all links and into all
 * namespaces, are taken only where something is not decided by the cheap ones: `decide` is asked again with more evidence.
 */

import { linksOf } from '../apply/read.ts';
import { isObject, type JsonObject } from '../decode.ts';
import type { Machine } from '../kernel/machine.ts';
import { addressesOf, type Namespaces, type NetworkNamespace, pathOf, readNamespaces } from '../kernel/namespaces.ts';
import { formatAddress } from '../net/address.ts';
import { attachmentMark, hostVethName, isHostEnd } from '../net/name.ts';
import { pool } from '../pool.ts';
import { bootIdFile, lookAtNamespace, type NamespaceIdentity, readBootId } from '../store/lease-identity.ts';
import { type AtPath, type Evidence, type JudgedLease, judge, type NetworkLease } from './judge.ts';
import { paced } from './paced.ts';

type Seen = Pick<NamespaceIdentity, 'device' | 'inode' | 'changed'>;

/** What is at a path, looked at once for all leases that have it. */
type Look = (path: string) => Seen | undefined;

function createLook(): Look {
  const known = new Map<string, Seen | undefined>();
  return (path) => {
    if (!known.has(path)) known.set(path, lookAtNamespace(path));
    return known.get(path);
  };
}

/** The time counts only where both looks found the inode pinned. */
const isSame = (a: Seen, b: Seen): boolean =>
  a.device === b.device && a.inode === b.inode && (a.changed === b.changed || a.changed === 0n || b.changed === 0n);

function atPath(netns: NamespaceIdentity, { own, mount }: Namespaces, look: Look): AtPath {
  if (!mount.has(netns.mountNamespace)) return 'unseen';
  if (netns.path === '' || netns.mountNamespace !== own.mount) return 'absent'; // then `heldElsewhere` knows
  const found = look(netns.path);
  if (!found) return 'absent';
  return isSame(found, netns) ? 'same' : 'other';
}

function heldElsewhere(
  netns: NamespaceIdentity,
  { network }: Namespaces,
  look: Look,
): ReturnType<Evidence['heldElsewhere']> {
  const held = network.get(netns.inode);
  if (!held) return undefined;
  if (netns.changed === 0n) return { where: pathOf(held), certain: false };
  // all mounts of one number are one namespace: when its time is another, so is every process in it
  const [path] = held.mounts;
  const found = path && look(path);
  if (found) return isSame(found, netns) ? { where: path, certain: true } : undefined;
  return { where: pathOf(held), certain: false };
}

/** Ends of pods' links in our own namespace, by name: those that carry a label or are being made by us. */
async function readHostLinks({ kernel }: Machine): Promise<Map<string, { alias: string; mac: string }>> {
  const [shown = []] = await kernel.show(['link show type veth']);
  return new Map(linksOf(shown).map((l) => [l.name, { alias: l.alias ?? '', mac: l.address ?? '' }]));
}

/** Namespaces without a process are entered so many at a time. */
const atOnce = 8;

/** Addresses that the namespace's interfaces have. What is gone by now has none. */
async function addressesIn(namespace: NetworkNamespace, { exec }: Machine): Promise<string[]> {
  if (namespace.pid !== undefined) return addressesOf(namespace.pid).map(formatAddress);
  const text = await exec(['ip', '-j', 'addr', 'show'], { netns: pathOf(namespace) }).catch(() => '[]');
  const links = (JSON.parse(text) as unknown[]).filter(isObject);
  return links.flatMap((link) => ((link['addr_info'] ?? []) as JsonObject[]).map((info) => String(info['local'])));
}

/** Addresses in other namespaces than ours: address → where, in words. */
async function readAddresses(machine: Machine, { network, own }: Namespaces): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const others = [...network.values()].filter((n) => n.inode !== own.network);
  await pool(others, atOnce, async (namespace) => {
    for (const address of await addressesIn(namespace, machine)) {
      found.set(address, `address in namespace ${pathOf(namespace)}`);
    }
  });
  return found;
}

/** Reads the host as far as it needs to, and judges. Throws CommandError when it cannot be read. */
export async function judgeOnHost(
  leases: readonly NetworkLease[],
  machine: Machine,
  bootId = bootIdFile,
): Promise<JudgedLease[]> {
  if (leases.length === 0) return [];
  const namespaces = readNamespaces();
  const look = createLook();
  const needs = { links: false, addresses: false };
  let links = new Map<string, { alias: string; mac: string }>();
  let addresses = new Map<string, string>();
  const evidence: Evidence = {
    bootId: readBootId(bootId),
    now: process.hrtime.bigint(),
    nowMs: Date.now(),
    atPath: (netns) => atPath(netns, namespaces, look),
    heldElsewhere: (netns) => heldElsewhere(netns, namespaces, look),
    hostLink(network, owner) {
      needs.links = true;
      const id = { network, ...owner };
      const name = hostVethName(id);
      const link = links.get(name);
      if (!link) return undefined;
      const isOurs = link.alias.startsWith(attachmentMark(id)) || isHostEnd(network, name, link.mac);
      return isOurs ? name : undefined;
    },
    addressAt(address) {
      needs.addresses = true;
      return addresses.get(formatAddress(address));
    },
  };
  for await (const { found } of paced(leases)) {
    const netns = found.entry?.identity?.netns;
    if (netns) evidence.atPath(netns); // judging itself lets nobody else have a turn
  }
  const first = judge(leases, evidence);
  if (!needs.links && !needs.addresses) return first;
  links = await readHostLinks(machine);
  if (needs.addresses) addresses = await readAddresses(machine, namespaces);
  return judge(leases, evidence);
}

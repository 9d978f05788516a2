/**
 * For whom a lease was made, as far as it can still be recognised later: the boot, the moment and the network namespace. It stands
 * in the name of the lease's entry in the index, so it costs no file operation of its own, is there before the lease is, and
 * survives a power cut that empties the file:
 *
 *     <address>@<boot id>@<monotonic ns>[@<mount namespace>@<device>.<inode>.<change time ns>@<path>]
 *
 * A namespace's inode number is given to the next one as soon as it is free, and runtimes use a path again: neither identifies.
 * Its inode's change time does, as long as something pins that inode: a bind mount, as runtimes make one. By /proc/PID/ns/net the
 * kernel makes the inode anew for every look; the time is 0 then, and only "perhaps the same" can be said. The path means
 * something in the mount namespace it was given in.
 */

import { lstatSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { type Address, formatAddress } from '../net/address.ts';
import { leaseAddress } from './lease-files.ts';

export const bootIdFile = '/proc/sys/kernel/random/boot_id';

export interface NamespaceIdentity {
  readonly path: string;
  /** Inode number of the mount namespace the path is one of. */
  readonly mountNamespace: bigint;
  readonly device: bigint;
  readonly inode: bigint;
  /** In ns; 0 where nothing pins the inode. */
  readonly changed: bigint;
}

export interface Identity {
  /** Empty where /proc did not tell. */
  readonly bootId: string;
  /** Of CLOCK_MONOTONIC, in ns: no change of the wall clock makes a lease older. */
  readonly leasedAt: bigint;
  /** Absent when there was nothing at the path, or none was given. */
  readonly netns?: NamespaceIdentity;
}

/** File names end at 255 bytes, and an entry that is being freed gets a prefix. */
const longestName = 230;

/** The boot this kernel is in; empty where /proc does not tell. */
export function readBootId(file = bootIdFile): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}

/** The number in "mnt:[4026531841]". */
export const namespaceNumber = (link: string): bigint => BigInt(/\[(\d+)\]$/.exec(link)?.[1] ?? 0);

/** What is at a namespace's path now; undefined when there is nothing. Throws nothing. */
export function lookAtNamespace(path: string): Pick<NamespaceIdentity, 'device' | 'inode' | 'changed'> | undefined {
  try {
    const entry = lstatSync(path, { bigint: true });
    const pinned = !entry.isSymbolicLink();
    const { dev, ino } = pinned ? entry : statSync(path, { bigint: true });
    return { device: dev, inode: ino, changed: pinned ? entry.ctimeNs : 0n };
  } catch {
    return undefined;
  }
}

/** The identity of a lease that is made now. `netns`: the path that the runtime gave, if any. */
export function identify(netns: string, bootId: string): Identity {
  const found = netns.startsWith('/') ? lookAtNamespace(netns) : undefined;
  const leasedAt = process.hrtime.bigint();
  if (!found) return { bootId, leasedAt };
  const mountNamespace = namespaceNumber(readlinkSync('/proc/self/ns/mnt'));
  return { bootId, leasedAt, netns: { path: netns, mountNamespace, ...found } };
}

/** The name of a lease's entry. A path that does not fit is left out: the namespace is then looked for by its number. */
export function formatEntry(address: Address, identity: Identity): string {
  const { bootId, leasedAt, netns } = identity;
  const parts = [formatAddress(address), bootId, leasedAt];
  if (!netns) return parts.join('@');
  parts.push(`${netns.mountNamespace}`, `${netns.device}.${netns.inode}.${netns.changed}`);
  const whole = [...parts, netns.path.isWellFormed() ? encodeURIComponent(netns.path) : ''].join('@');
  return Buffer.byteLength(whole) <= longestName ? whole : [...parts, ''].join('@');
}

const shape = /^([^@]+)@([^@]*)@(\d+)(?:@(\d+)@(\d+)\.(\d+)\.(\d+)@([^@]*))?$/;

/** An entry's name taken apart; one without identity is of a lease that another suite wrote. Undefined: no entry at all. */
export function parseEntry(name: string): { address: Address; identity?: Identity } | undefined {
  const plain = leaseAddress(name);
  if (plain) return { address: plain };
  const [, text = '', bootId = '', leasedAt = '', mountNamespace, device = '', inode = '', changed = '', path = ''] =
    shape.exec(name) ?? [];
  const address = leaseAddress(text);
  if (!address) return undefined;
  const identity = { bootId, leasedAt: BigInt(leasedAt) };
  if (mountNamespace === undefined) return { address, identity };
  const numbers = {
    mountNamespace: BigInt(mountNamespace),
    device: BigInt(device),
    inode: BigInt(inode),
    changed: BigInt(changed),
  };
  return { address, identity: { ...identity, netns: { path: decodePath(path), ...numbers } } };
}

function decodePath(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}

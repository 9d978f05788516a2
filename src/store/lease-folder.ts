/**
 * A network's leases one by one: taken, found, freed. No lock is held anywhere.
 *
 * Freeing is for one lease and not for an address: by the time it happens the address may have another lease, of the same
 * container even, which got its address back. So the lease is compared with what was found, moved aside, compared again, and put
 * back when it is another one. Whoever dies in between leaves a file that tells which of the two it was (lease-index.ts).
 */

import { linkSync, mkdirSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { StoreError } from '../errors.ts';
import { type Address, formatAddress } from '../net/address.ts';
import {
  formatOwner,
  isInstance,
  leaseAddress,
  leasedIn,
  leaseFile,
  list,
  type Owner,
  parseOwner,
  read,
  remove,
  stat,
  unless,
} from './lease-files.ts';
import type { Identity } from './lease-identity.ts';
import { attempts, type Entry, type Found, LeaseIndex, noLinks } from './lease-index.ts';

export class LeaseFolder {
  readonly dir: string;
  readonly index: LeaseIndex;

  constructor(dataDir: string, network: string) {
    this.dir = join(dataDir, network);
    this.index = new LeaseIndex(this.dir, join(dataDir, '.culvert', network));
  }

  /** Takes the address if nobody has it. */
  claim(owner: Owner, address: Address, identity: Identity): boolean {
    const lease = leaseFile(this.dir, address);
    if (stat(lease)) return false;
    for (let i = 0; i < attempts; i++) {
      const entry = this.index.write(owner, address, identity);
      const failed = unless(['EEXIST', 'ENOENT', ...noLinks], () => linkSync(entry, lease));
      if (failed === undefined) return true;
      if (failed !== 'ENOENT') remove(entry);
      if (failed === 'EEXIST') return false;
      if (failed !== 'ENOENT') {
        const what = `cannot make a hard link ${lease} to ${entry} (${failed})`;
        throw new StoreError('io', `${what}: give a dataDir that is one filesystem with hard links`);
      }
      // somebody removed our entry or the network's folder
      mkdirSync(this.dir, { recursive: true, mode: 0o755 });
    }
    throw new StoreError('io', `cannot lease ${formatAddress(address)}: its entry or ${this.dir} keeps vanishing`);
  }

  /** An owner's leases; when there are none, those of its container in the format without interface. */
  find(owner: Owner): Found[] {
    for (const o of [owner, { ...owner, ifname: '' }]) {
      const indexed = this.index.find(o);
      const foreign = indexed.length === 0 || stat(join(this.dir, 'lock')) ? this.#foreign(o) : [];
      const known = new Set(indexed.map((f) => f.file.ino));
      const found = [...indexed, ...foreign.filter((f) => !known.has(f.file.ino))];
      if (found.length > 0) return found;
    }
    return [];
  }

  /** An owner's leases that are in no index: the slow way, reading all that have a link count of 1. */
  #foreign(owner: Owner): Found[] {
    const text = formatOwner(owner);
    return leasedIn(this.dir).flatMap((address) => {
      const lease = leaseFile(this.dir, address);
      const file = stat(lease);
      return file?.nlink === 1 && read(lease) === text ? [{ owner, address, text, file }] : [];
    });
  }

  /** Every lease, by reading all of them. One that lost its text has an owner without a name. */
  list(): Found[] {
    const entries = this.index.all();
    const byAddress = new Map<string, Entry[]>();
    for (const entry of [...entries.values()].flat()) {
      const name = formatAddress(entry.address);
      byAddress.set(name, [...(byAddress.get(name) ?? []), entry]);
    }
    return list(this.dir).flatMap((name) => {
      const address = leaseAddress(name);
      const lease = join(this.dir, name);
      const file = address && stat(lease);
      const text = file && read(lease);
      if (!address || !file || text === undefined) return [];
      const entry = (byAddress.get(name) ?? []).find((e) => stat(e.file)?.ino === file.ino);
      return [{ owner: parseOwner(text), address, text, file, entry }];
    });
  }

  /** Frees exactly the lease that was found; answers whether it did. */
  free(found: Found): boolean {
    const lease = leaseFile(this.dir, found.address);
    const aside = this.index.aside(found);
    for (let i = 0; i < attempts; i++) {
      if (!isInstance(stat(lease), found.file)) return false;
      this.index.ensureFolder(dirname(aside));
      if (unless(['ENOENT'], () => renameSync(lease, aside))) continue; // freed by another, or the folder was tidied away
      return this.#settle(found, lease, aside);
    }
    throw new StoreError('io', `cannot free ${lease}: ${dirname(aside)} keeps vanishing`);
  }

  #settle({ file, text, entry }: Found, lease: string, aside: string): boolean {
    const moved = stat(aside);
    if (!moved) return true; // somebody tidied up behind us: it was the right one
    const isRight = isInstance(moved, file) && read(aside) === text && (!entry || stat(entry.file)?.ino === moved.ino);
    if (!isRight) unless(['EEXIST', 'ENOENT'], () => linkSync(aside, lease));
    remove(aside);
    if (isRight && entry) remove(entry.file);
    return isRight;
  }
}

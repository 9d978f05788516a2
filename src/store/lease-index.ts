/**
 * The index of a network's leases by owner: <dataDir>/.culvert/<network>/<hash of owner>/<address>, each entry a hard link to its
 * lease. An entry without its lease, or whose lease says another owner by now, means nothing and is removed in passing.
 */

import { linkSync, mkdirSync, opendirSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { StoreError } from '../errors.ts';
import type { Address } from '../net/address.ts';
import { hash } from '../net/name.ts';
import {
  formatOwner,
  leaseAddress,
  leaseFile,
  list,
  type Owner,
  parseOwner,
  read,
  remove,
  stat,
  unless,
} from './lease-files.ts';

/** A folder with more files than this is not looked through by ADD: by every one, and when there is reason to. */
const fewFiles = { always: 64, withReason: 1024 };

/** How often files are made anew when somebody removes them meanwhile. */
export const attempts = 8;

/** What link(2) says where it cannot work at all. */
export const noLinks = ['EPERM', 'EXDEV', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EMLINK'];

export class LeaseIndex {
  /** The folder of the leases themselves. */
  readonly #leases: string;
  readonly #index: string;

  constructor(leases: string, index: string) {
    this.#leases = leases;
    this.#index = index;
  }

  /** The owner's folder. Hashed: an id may be longer than a file name. */
  folder(owner: Owner): string {
    return join(this.#index, hash(`${owner.containerId}\0${owner.ifname}`, 32));
  }

  entry(owner: Owner, address: Address): string {
    return leaseFile(this.folder(owner), address);
  }

  /** Writes an entry that has no lease yet, and answers its path. */
  write(owner: Owner, address: Address): string {
    const entry = this.entry(owner, address);
    for (let i = 0; i < attempts; i++) {
      const options = { flag: 'wx', mode: 0o600 };
      const failed = unless(['EEXIST', 'ENOENT'], () => writeFileSync(entry, formatOwner(owner), options));
      if (failed === undefined) return entry;
      // what a killed process left: removed and not written over, for it could be linked to a lease by now
      if (failed === 'EEXIST') remove(entry);
      else this.ensureFolder(dirname(entry));
    }
    throw new StoreError('io', `cannot write ${entry}: it keeps vanishing`);
  }

  /** Makes a folder of the index. The network's own comes first, as readable as the reference suite makes it. */
  ensureFolder(folder: string): void {
    if (unless(['ENOENT', 'EEXIST'], () => mkdirSync(folder, { mode: 0o700 })) !== 'ENOENT') return;
    mkdirSync(this.#leases, { recursive: true, mode: 0o755 });
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** What the index has of exactly this owner, stale entries left out. */
  addresses(owner: Owner): Address[] {
    return list(this.folder(owner)).flatMap((name) => {
      const address = leaseAddress(name);
      return address && this.textOf(owner, address) !== undefined ? [address] : [];
    });
  }

  /** The lease's text if the lease is the owner's: it says so, or it lost its text and is the owner's entry by another name. */
  textOf(owner: Owner, address: Address): string | undefined {
    const lease = leaseFile(this.#leases, address);
    const text = read(lease);
    if (text === formatOwner(owner)) return text;
    return text === '' && stat(lease)?.ino === stat(this.entry(owner, address))?.ino ? text : undefined;
  }

  /** Removes what stands for no lease from an owner's folder, and the folder when nothing stays. */
  tidy(owner: Owner): void {
    this.#tidyFolder(this.folder(owner));
  }

  tidyAll(): void {
    for (const name of list(this.#index)) this.#tidyFolder(join(this.#index, name));
  }

  #tidyFolder(folder: string): void {
    for (const name of list(folder)) {
      const entry = join(folder, name);
      const address = leaseAddress(name);
      const text = address && read(leaseFile(this.#leases, address));
      if (text === undefined || (text !== '' && text !== read(entry))) remove(entry);
    }
    unless(['ENOENT', 'ENOTEMPTY', 'ENOTDIR'], () => rmdirSync(folder));
  }

  /** Takes the leases of another suite in, when they are few. That it was here shows in the file `lock` or by our having no index. */
  adoptForeign(): void {
    const lock = join(this.#leases, 'lock');
    const reason = !stat(this.#index) || stat(lock);
    for (const name of this.#names(reason ? fewFiles.withReason : fewFiles.always)) {
      const address = leaseAddress(name);
      if (address) this.#adopt(address);
    }
    // gone until the other suite runs again. It need not be free: whoever holds it makes its leases with O_EXCL all the same
    remove(lock);
  }

  /** The names in the network's folder, or none when there are more than so many. */
  #names(most: number): string[] {
    const names: string[] = [];
    unless(['ENOENT'], () => {
      using folder = opendirSync(this.#leases);
      for (let item = folder.readSync(); item && names.length <= most; item = folder.readSync()) {
        names.push(item.name);
      }
    });
    return names.length > most ? [] : names;
  }

  /** Takes one lease in, unless it is in already, has no text yet or may not be linked. */
  #adopt(address: Address): void {
    const lease = leaseFile(this.#leases, address);
    if (stat(lease)?.nlink !== 1) return;
    const text = read(lease);
    if (!text) return;
    const entry = this.entry(parseOwner(text), address);
    this.ensureFolder(dirname(entry));
    remove(entry);
    unless(['ENOENT', 'EEXIST', ...noLinks], () => linkSync(lease, entry));
  }
}

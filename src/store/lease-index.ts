/**
 * The index of a network's leases by owner: <dataDir>/.culvert/<network>/<hash of owner>/<entry>, each entry a hard link to its
 * lease, with the lease's identity in its name (lease-identity.ts). An entry whose lease is gone, or is another file by now, means
 * nothing and is removed in passing.
 */

import { linkSync, mkdirSync, opendirSync, rmdirSync, type Stats, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { StoreError } from '../errors.ts';
import { type Address, equalAddress, formatAddress } from '../net/address.ts';
import { hash } from '../net/name.ts';
import {
  formatOwner,
  isInstance,
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
import { formatEntry, type Identity, parseEntry } from './lease-identity.ts';

/** A folder with more files than this is not looked through by ADD: by every one, and when there is reason to. */
const fewFiles = { always: 64, withReason: 1024 };

/** How often files are made anew when somebody removes them meanwhile. */
export const attempts = 8;

/** What link(2) says where it cannot work at all. */
export const noLinks = ['EPERM', 'EXDEV', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EMLINK'];

/** A lease on its way out is moved to this prefix, the process id and its entry's name. No entry begins like that. */
const leaving = /^freed\.\d+\./;

export interface Entry {
  readonly address: Address;
  readonly file: string;
  /** Absent when another suite wrote the lease. */
  readonly identity?: Identity;
}

/** A lease as it was found: one and the same file, not whatever has its address later. */
export interface Found {
  readonly owner: Owner;
  readonly address: Address;
  readonly text: string;
  readonly file: Pick<Stats, 'ino' | 'mtimeMs'>;
  /** Its entry in the index, where it has one. */
  readonly entry?: Entry | undefined;
}

export class LeaseIndex {
  /** The folder of the leases themselves. */
  readonly #leases: string;
  readonly #index: string;

  constructor(leases: string, index: string) {
    this.#leases = leases;
    this.#index = index;
  }

  /** The name of an owner's folder. Hashed: an id may be longer than a file name. */
  folderName(owner: Owner): string {
    return hash(`${owner.containerId}\0${owner.ifname}`, 32);
  }

  folder(owner: Owner): string {
    return join(this.#index, this.folderName(owner));
  }

  /** Where a lease goes that is being freed, until it has been looked at again. */
  aside({ owner, address, entry }: Found): string {
    const [folder, name] = entry
      ? [dirname(entry.file), entry.file.slice(dirname(entry.file).length + 1)]
      : [this.folder(owner), formatAddress(address)];
    return join(folder, `freed.${process.pid}.${name}`);
  }

  /** Writes an entry that has no lease yet, and answers its path. */
  write(owner: Owner, address: Address, identity: Identity): string {
    const entry = join(this.folder(owner), formatEntry(address, identity));
    for (let i = 0; i < attempts; i++) {
      const options = { flag: 'wx', mode: 0o600 };
      const failed = unless(['EEXIST', 'ENOENT'], () => writeFileSync(entry, formatOwner(owner), options));
      if (failed === undefined) return entry;
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

  /** The entries of a folder of the index, stale ones among them. */
  #entriesIn(folder: string): Entry[] {
    return list(folder).flatMap((name) => {
      const entry = parseEntry(name);
      return entry ? [{ ...entry, file: join(folder, name) }] : [];
    });
  }

  /** Every entry, by the name of its owner's folder: one look at each folder. */
  all(): Map<string, Entry[]> {
    return new Map(list(this.#index).map((name) => [name, this.#entriesIn(join(this.#index, name))]));
  }

  /** The leases that the index has of exactly this owner. */
  find(owner: Owner): Found[] {
    const byAddress = Map.groupBy(this.#entriesIn(this.folder(owner)), (e) => formatAddress(e.address));
    return [...byAddress.values()].flatMap((entries) => this.#findAt(owner, entries[0]!.address, entries) ?? []);
  }

  /** A lease is the owner's if it says so, or if it lost its text and is the owner's entry by another name. */
  #findAt(owner: Owner, address: Address, entries: readonly Entry[]): Found | undefined {
    const lease = leaseFile(this.#leases, address);
    const file = stat(lease);
    const text = file && read(lease);
    if (!file || text === undefined) return undefined;
    const entry = entries.find((e) => stat(e.file)?.ino === file.ino);
    return text === formatOwner(owner) || (text === '' && entry) ? { owner, address, text, file, entry } : undefined;
  }

  /** The lease at an address, whoever has it. One that lost its text is looked for in the whole index. */
  at(address: Address): Found | undefined {
    const lease = leaseFile(this.#leases, address);
    const file = stat(lease);
    const text = file && read(lease);
    if (!file || text === undefined) return undefined;
    const owner = parseOwner(text);
    const entries = text === '' ? [...this.all().values()].flat() : this.#entriesIn(this.folder(owner));
    const entry = entries.find((e) => equalAddress(e.address, address) && stat(e.file)?.ino === file.ino);
    return { owner, address, text, file, entry };
  }

  /** Removes what stands for no lease from an owner's folder, and the folder when nothing stays. */
  tidy(owner: Owner): void {
    this.#tidyFolders([this.folder(owner)]);
  }

  tidyAll(): void {
    this.#tidyFolders(list(this.#index).map((name) => join(this.#index, name)));
  }

  /** First what was half freed: it may be the lease of an entry, in whatever folder, that would stand for none. */
  #tidyFolders(folders: readonly string[]): void {
    for (const folder of folders) {
      for (const name of list(folder).filter((n) => leaving.test(n))) {
        this.#finish(join(folder, name), join(folder, name.replace(leaving, '')));
      }
    }
    for (const folder of folders) {
      for (const name of list(folder).filter((n) => !leaving.test(n))) {
        const address = parseEntry(name)?.address;
        if (address) this.#tidyEntry(join(folder, name), leaseFile(this.#leases, address));
        else remove(join(folder, name));
      }
      unless(['ENOENT', 'ENOTEMPTY', 'ENOTDIR'], () => rmdirSync(folder));
    }
  }

  /** An ADD may link its entry to the lease just when it is found to have none: then it is put back. */
  #tidyEntry(entry: string, lease: string): void {
    const file = stat(entry);
    if (!file || stat(lease)?.ino === file.ino) return;
    remove(entry);
    if (isInstance(stat(lease), file)) unless(['ENOENT', 'EEXIST'], () => linkSync(lease, entry));
  }

  /**
   * What a killed process left half freed. Another name of its own entry: it was the right lease, and both go. A file that some
   * other entry has too: a lease that was mistaken for the one to be freed, and is put back.
   */
  #finish(aside: string, entry: string): void {
    const file = stat(aside);
    if (!file) return;
    const address = parseEntry(entry.slice(dirname(entry).length + 1))?.address;
    const isRight = stat(entry)?.ino === file.ino;
    if (!isRight && file.nlink > 1 && address) {
      unless(['EEXIST', 'ENOENT'], () => linkSync(aside, leaseFile(this.#leases, address)));
    }
    remove(aside);
    if (isRight) remove(entry);
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

  /** Takes one lease in, unless it is in already, has no text yet or may not be linked. Its entry has no identity. */
  #adopt(address: Address): void {
    const lease = leaseFile(this.#leases, address);
    if (stat(lease)?.nlink !== 1) return;
    const text = read(lease);
    if (!text) return;
    const entry = leaseFile(this.folder(parseOwner(text)), address);
    this.ensureFolder(dirname(entry));
    remove(entry);
    unless(['ENOENT', 'EEXIST', ...noLinks], () => linkSync(lease, entry));
  }
}

/**
 * All leases of a network, each read once. One goes over them lease by lease: 60,000 take a second or two of processor time, and
 * whoever has other work can do some in between (ipam/paced.ts).
 */

import { type Address, formatAddress, parseAddress } from '../net/address.ts';
import { list, parseOwner, read, stat, storeError } from './lease-files.ts';
import { parseEntry } from './lease-identity.ts';
import type { Entry, Found, LeaseIndex } from './lease-index.ts';

export class LeaseListing implements Iterable<Found> {
  /**
   * Known after the last lease: folders of the index with something in them that is no entry of a lease. Where no ADD and no DEL is
   * just at it, a killed one left it.
   */
  readonly leftovers = new Set<string>();
  /** Files whose name is an address in another spelling than its own, and that address. */
  readonly misspelt: { file: string; address: string }[] = [];
  readonly #dir: string;
  readonly #index: LeaseIndex;
  /** Names in the folders of the index that were looked into: those that were not found to be of a lease yet. */
  readonly #unclaimed = new Map<string, string[]>();
  #folderOf: Map<string, string[]> | undefined;

  constructor(dir: string, index: LeaseIndex) {
    this.#dir = dir;
    this.#index = index;
  }

  /** Throws StoreError io. A lease that lost its text has an owner without a name. */
  *[Symbol.iterator](): Generator<Found> {
    try {
      for (const name of list(this.#dir)) {
        const found = this.#look(name);
        if (found) yield found;
      }
      for (const folder of this.#index.folders()) {
        if (this.#unclaimed.get(folder)?.length !== 0) this.leftovers.add(folder);
      }
    } catch (error) {
      throw storeError(error);
    }
  }

  #look(name: string): Found | undefined {
    const address = parseAddress(name);
    if (!address) return undefined;
    const path = `${this.#dir}/${name}`;
    if (formatAddress(address) !== name) {
      this.misspelt.push({ file: path, address: formatAddress(address) });
      return undefined;
    }
    const file = stat(path);
    const text = file && read(path);
    if (!file || text === undefined) return undefined;
    const owner = parseOwner(text);
    const folders = text === '' ? this.#foldersWith(name) : [this.#index.folder(owner)];
    // another suite's lease has no other name
    const entry = file.nlink > 1 ? this.#claimEntry(folders, address, file.ino) : undefined;
    return { owner, address, text, file: { ino: file.ino, mtimeMs: file.mtimeMs }, entry };
  }

  #claimEntry(folders: readonly string[], address: Address, ino: number): Entry | undefined {
    const text = formatAddress(address);
    for (const folder of folders) {
      const names = this.#namesIn(folder);
      const isEntry = (n: string) => addressIn(n) === text && stat(`${folder}/${n}`)?.ino === ino;
      const at = names.findIndex(isEntry);
      const parsed = at < 0 ? undefined : parseEntry(names[at]!);
      if (parsed) return { ...parsed, file: `${folder}/${names.splice(at, 1)[0]}` };
    }
    return undefined;
  }

  #namesIn(folder: string): string[] {
    const names = this.#unclaimed.get(folder) ?? list(folder);
    this.#unclaimed.set(folder, names);
    return names;
  }

  /** The folders with an entry for an address, by looking into all of them: the way to leases that lost their text. */
  #foldersWith(address: string): readonly string[] {
    if (!this.#folderOf) {
      this.#folderOf = new Map();
      for (const folder of this.#index.folders()) {
        for (const name of this.#namesIn(folder)) {
          const key = addressIn(name);
          this.#folderOf.set(key, [...(this.#folderOf.get(key) ?? []), folder]);
        }
      }
    }
    return this.#folderOf.get(address) ?? [];
  }
}

/** The address in an entry's name. */
const addressIn = (name: string): string => name.split('@', 1)[0]!;

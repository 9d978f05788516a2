/**
 * Leased addresses on disk, in host-local's own format, so that a node can change suites with its pods running:
 *
 *     <dataDir>/<network>/<address>                              one lease: "<container id>\r\n<interface>"
 *     <dataDir>/<network>/last_reserved_ip.<set>                 where the round robin goes on
 *     <dataDir>/.culvert/<network>/<hash of owner>/<address>     our index: a hard link to the lease
 *
 * To lease an address is to write the entry in the index first and then to link it to the lease's name. link(2) either makes
 * the lease appear with all its text or says that the address is taken: no lock is held, so nobody waits for a process that
 * died. The entry comes before the lease and goes after it, so every lease of ours is found through its owner without reading
 * the folder; what a killed process leaves is an entry without a lease, which means nothing and is swept up in passing.
 *
 * Leases that another suite wrote have no entry (their link count is 1). They are found by reading what they say: when an owner
 * that is to be released has no entry, and by GC. ADD must not read 60,000 files to see a duplicate, so it takes foreign leases
 * into the index when there can be new ones (no index yet, or the file `lock` that the reference suite leaves) and they are few.
 *
 * Nothing is synced to disk: a sync costs more than the rest of an ADD (docs/benchmarks.md), and a node that lost power has lost its containers too.
 * A lease that comes back empty is still found by its entry's name, and freed by DEL or GC.
 */

import { accessSync, constants, linkSync, mkdirSync, opendirSync, renameSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { StoreError } from '../errors.ts';
import { type Address, equalAddress, formatAddress, parseAddress } from '../net/address.ts';
import { hash } from '../net/name.ts';
import type { Prefix } from '../net/prefix.ts';
import { candidates, formatRangeSet, type Range, type RangeSet, rangeOf, sizeOf } from '../net/range.ts';
import {
  formatOwner,
  guarded,
  leaseAddress,
  list,
  type Owner,
  parseOwner,
  read,
  remove,
  stat,
  unless,
} from './lease-files.ts';

export type { Owner } from './lease-files.ts';

/** An address with its subnet's length, and the gateway of its range. */
export interface Lease {
  address: Prefix;
  gateway: Address;
}

/** So many taken addresses in a row are looked at one by one; then the folder is listed once. */
const probes = 64;

/** A folder with more files than this is not taken into the index by ADD. */
const adoptable = 1024;

/** How often ADD makes its files anew when somebody removes them meanwhile. */
const attempts = 8;

/** What link(2) says where it cannot work at all. */
const noLinks = ['EPERM', 'EXDEV', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EMLINK'];

export class Leases {
  readonly #dir: string;
  readonly #index: string;

  /** Touches nothing; the folders come with the first lease. */
  constructor(dataDir: string, network: string) {
    this.#dir = join(dataDir, network);
    this.#index = join(dataDir, '.culvert', network);
  }

  /**
   * Leases an address of the set: the requested one or the next in turn. Throws StoreError: `duplicate` (the owner has one of
   * this set already and asked for none in particular), `taken`, `outside` (not in the set, or the gateway), `exhausted`, `io`.
   */
  reserve(owner: Owner, setIndex: number, set: RangeSet, requested?: Address): Lease {
    return guarded(() => {
      this.#adoptForeign();
      const { address, range } = requested
        ? this.#reserveThis(owner, set, requested)
        : this.#reserveNext(owner, setIndex, set);
      try {
        const next = join(this.#folder(owner), `last_reserved_ip.${setIndex}`);
        writeFileSync(next, formatAddress(address), { mode: 0o600 });
        renameSync(next, this.#last(setIndex));
      } catch (error) {
        this.#free(owner, address);
        throw error;
      }
      return { address: { address, length: range.subnet.length }, gateway: range.gateway };
    });
  }

  /** The addresses leased to an owner. */
  held(owner: Owner): Address[] {
    return guarded(() => this.#find(owner).map(({ address }) => address));
  }

  /** Who has leased an address. */
  ownerOf(address: Address): Owner | undefined {
    const text = guarded(() => read(this.#lease(address)));
    return text === undefined ? undefined : parseOwner(text);
  }

  /** Frees all that an owner holds, or only some of it, and answers what was freed. */
  release(owner: Owner, only?: readonly Address[]): Address[] {
    return guarded(() => {
      const found = only ? only.map((address) => ({ address, owner })) : this.#find(owner);
      const freed = found.filter((lease) => this.#free(lease.owner, lease.address)).map(({ address }) => address);
      this.#tidy(this.#folder(owner));
      return freed;
    });
  }

  /** Frees every lease whose owner is not to be kept, and what killed processes left. A lease without text has an owner without name. */
  sweep(keep: (owner: Owner) => boolean): { owner: Owner; address: Address }[] {
    return guarded(() => {
      const freed: { owner: Owner; address: Address }[] = [];
      for (const address of this.#leased()) {
        const text = read(this.#lease(address));
        if (text === undefined) continue;
        const owner = parseOwner(text);
        if (keep(owner)) this.#adopt(address);
        else if (this.#free(owner, address)) freed.push({ owner, address });
      }
      for (const name of list(this.#index)) this.#tidy(join(this.#index, name));
      return freed;
    });
  }

  /** How many addresses each set has, and how many of them are leased. */
  usage(sets: readonly RangeSet[]): { size: bigint; taken: bigint }[] {
    return guarded(() => {
      const leased = this.#leased();
      return sets.map((set) => {
        const taken = leased.filter((a) => {
          const range = rangeOf(set, a);
          return range && !equalAddress(range.gateway, a);
        });
        return { size: sizeOf(set), taken: BigInt(taken.length) };
      });
    });
  }

  /** Throws StoreError io when leases could not be written; makes nothing. */
  requireWritable(): void {
    guarded(() => {
      let folder = this.#dir;
      while (!stat(folder)) folder = dirname(folder);
      accessSync(`${folder}/.`, constants.W_OK | constants.X_OK);
    });
  }

  #lease(address: Address): string {
    return join(this.#dir, formatAddress(address));
  }

  #last(setIndex: number): string {
    return join(this.#dir, `last_reserved_ip.${setIndex}`);
  }

  /** The owner's folder in the index. Hashed: an id may be longer than a file name. */
  #folder(owner: Owner): string {
    return join(this.#index, hash(`${owner.containerId}\0${owner.ifname}`, 32));
  }

  #entry(owner: Owner, address: Address): string {
    return join(this.#folder(owner), formatAddress(address));
  }

  #leased(): Address[] {
    return list(this.#dir).flatMap((name) => leaseAddress(name) ?? []);
  }

  #reserveThis(owner: Owner, set: RangeSet, address: Address): { address: Address; range: Range } {
    const text = formatAddress(address);
    const range = rangeOf(set, address);
    if (!range) throw new StoreError('outside', `requested address ${text} is not in range set ${formatRangeSet(set)}`);
    if (equalAddress(range.gateway, address)) {
      throw new StoreError(
        'outside',
        `requested address ${text} is the gateway of ${formatRangeSet([range])}: ask for another`,
      );
    }
    if (this.#claim(owner, address)) return { address, range };
    const holder = this.ownerOf(address);
    const who = holder ? `: container ${holder.containerId} has it on "${holder.ifname}"` : '';
    throw new StoreError('taken', `requested address ${text} is already leased${who}`);
  }

  #reserveNext(owner: Owner, setIndex: number, set: RangeSet): { address: Address; range: Range } {
    const own = [owner, { ...owner, ifname: '' }].flatMap((o) => this.#indexed(o)).find((a) => rangeOf(set, a));
    if (own) {
      const what = `${formatAddress(own)} is already leased to container ${owner.containerId}, interface ${owner.ifname}`;
      throw new StoreError('duplicate', `${what}: a second ADD needs a DEL first`);
    }
    const last = parseAddress(read(this.#last(setIndex)) ?? '');
    let left = probes;
    for (const candidate of candidates(set, last)) {
      if (left-- === 0) break;
      if (this.#claim(owner, candidate.address)) return candidate;
    }
    return this.#reserveFromList(owner, set, last);
  }

  /** Goes by one listing of the folder, and by a new one when others took all that was free in it. */
  #reserveFromList(owner: Owner, set: RangeSet, last: Address | undefined): { address: Address; range: Range } {
    for (let outrun = true; outrun; ) {
      outrun = false;
      const taken = new Set(list(this.#dir));
      for (const candidate of candidates(set, last)) {
        if (taken.has(formatAddress(candidate.address))) continue;
        if (this.#claim(owner, candidate.address)) return candidate;
        outrun = true;
      }
    }
    this.#tidy(this.#folder(owner));
    const what = `no free address in range set ${formatRangeSet(set)}: all ${sizeOf(set)} are leased`;
    throw new StoreError('exhausted', `${what}; delete unused pods, run GC or widen the range`);
  }

  /** Takes the address if nobody has it. */
  #claim(owner: Owner, address: Address): boolean {
    const lease = this.#lease(address);
    if (stat(lease)) return false;
    const entry = this.#entry(owner, address);
    for (let i = 0; i < attempts; i++) {
      this.#writeEntry(entry, formatOwner(owner));
      const failed = unless(['EEXIST', 'ENOENT', ...noLinks], () => linkSync(entry, lease));
      if (failed === undefined) return true;
      if (failed !== 'ENOENT') remove(entry);
      if (failed === 'EEXIST') return false;
      if (failed !== 'ENOENT') {
        const where = `between ${this.#index} and ${this.#dir}`;
        throw new StoreError(
          'io',
          `cannot make a hard link ${where} (${failed}): give a dataDir on one filesystem that has them`,
        );
      }
      // the network's folder is not there yet, or somebody removed it or our entry
      mkdirSync(this.#dir, { recursive: true, mode: 0o755 });
    }
    throw new StoreError('io', `cannot lease ${formatAddress(address)}: ${entry} or ${this.#dir} keeps vanishing`);
  }

  #writeEntry(entry: string, text: string): void {
    for (let i = 0; i < attempts; i++) {
      const failed = unless(['EEXIST', 'ENOENT'], () => writeFileSync(entry, text, { flag: 'wx', mode: 0o600 }));
      if (failed === undefined) return;
      // an entry without a lease, as a killed process leaves it: never written over, for it could be a lease by now
      if (failed === 'EEXIST') remove(entry);
      else this.#makeFolder(dirname(entry));
    }
    throw new StoreError('io', `cannot write ${entry}: it keeps vanishing`);
  }

  /** A folder of the index. The network's own comes first, readable as the reference suite makes it. */
  #makeFolder(folder: string): void {
    if (unless(['ENOENT', 'EEXIST'], () => mkdirSync(folder, { mode: 0o700 })) !== 'ENOENT') return;
    mkdirSync(this.#dir, { recursive: true, mode: 0o755 });
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** What the index has of exactly this owner, stale entries left out. */
  #indexed(owner: Owner): Address[] {
    return list(this.#folder(owner)).flatMap((name) => {
      const address = leaseAddress(name);
      return address && this.#textOf(owner, address) !== undefined ? [address] : [];
    });
  }

  /** The lease's text if the lease is the owner's: it says so, or it lost its text and is the owner's entry by another name. */
  #textOf(owner: Owner, address: Address): string | undefined {
    const text = read(this.#lease(address));
    if (text === formatOwner(owner)) return text;
    if (text !== '') return undefined;
    const lease = stat(this.#lease(address));
    return lease?.ino === stat(this.#entry(owner, address))?.ino ? text : undefined;
  }

  /** An owner's leases; when there are none, those of its container in the format without interface. */
  #find(owner: Owner): { owner: Owner; address: Address }[] {
    for (const o of [owner, { ...owner, ifname: '' }]) {
      const indexed = this.#indexed(o);
      const foreign = indexed.length === 0 || stat(join(this.#dir, 'lock')) ? this.#foreign(o, indexed) : [];
      const found = [...indexed, ...foreign];
      if (found.length > 0) return found.map((address) => ({ owner: o, address }));
    }
    return [];
  }

  /** An owner's leases that are in no index: the slow way, reading all that have a link count of 1. */
  #foreign(owner: Owner, known: readonly Address[]): Address[] {
    const text = formatOwner(owner);
    return this.#leased().filter((a) => {
      const file = this.#lease(a);
      return stat(file)?.nlink === 1 && read(file) === text && !known.some((k) => equalAddress(k, a));
    });
  }

  /**
   * Frees an address if it is the owner's. The lease is moved aside, looked at again and only then removed: a second DEL of the
   * same owner may have been faster and the address be another's by now, who then gets it back.
   */
  #free(owner: Owner, address: Address): boolean {
    const lease = this.#lease(address);
    const entry = this.#entry(owner, address);
    const text = this.#textOf(owner, address);
    if (text === undefined) {
      remove(entry);
      return false;
    }
    const aside = `${entry}.freed`;
    this.#makeFolder(dirname(entry));
    if (unless(['ENOENT'], () => renameSync(lease, aside))) return false;
    const freed = read(aside) === text;
    if (!freed) unless(['EEXIST', 'ENOENT'], () => linkSync(aside, lease));
    remove(aside);
    remove(entry);
    return freed;
  }

  /** Removes what is no lease from an owner's folder in the index, and the folder when nothing stays. */
  #tidy(folder: string): void {
    for (const name of list(folder)) {
      const entry = join(folder, name);
      const address = leaseAddress(name);
      const text = address && read(this.#lease(address));
      if (text === undefined || (text !== read(entry) && text !== '')) remove(entry);
    }
    unless(['ENOENT', 'ENOTEMPTY', 'ENOTDIR'], () => rmdirSync(folder));
  }

  /** Takes the leases of another suite into the index when new ones may have come and they are few. */
  #adoptForeign(): void {
    const lock = join(this.#dir, 'lock');
    if (stat(this.#index) && !stat(lock)) return;
    const names = this.#someNames();
    for (const name of names ?? []) {
      const address = leaseAddress(name);
      if (address) this.#adopt(address);
    }
    // gone until the other suite runs again. It need not be free: its holders make their files with O_EXCL
    remove(lock);
  }

  /** The names in the network's folder, or undefined when there are too many. */
  #someNames(): string[] | undefined {
    const names: string[] = [];
    unless(['ENOENT'], () => {
      using folder = opendirSync(this.#dir);
      for (let item = folder.readSync(); item && names.length <= adoptable; item = folder.readSync())
        names.push(item.name);
    });
    return names.length > adoptable ? undefined : names;
  }

  /** Takes one lease into the index, unless it is there, has no text yet or may not be linked. */
  #adopt(address: Address): void {
    const lease = this.#lease(address);
    if (stat(lease)?.nlink !== 1) return;
    const text = read(lease);
    if (!text) return;
    const entry = this.#entry(parseOwner(text), address);
    this.#makeFolder(dirname(entry));
    remove(entry);
    unless(['ENOENT', 'EEXIST', ...noLinks], () => linkSync(lease, entry));
  }
}

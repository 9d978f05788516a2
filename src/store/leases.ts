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
 * Leases that another suite wrote have no entry, which shows in their link count of 1. They are found by reading what they say:
 * when an owner that is to be released has no entry, and by GC. ADD has to see a duplicate among them but cannot read 60,000
 * files: it takes them into the index when the folder is small, or of middling size and there is reason to look (lease-index.ts).
 *
 * Nothing is synced to disk: syncing file and folder would double or triple the time a lease takes, and a node that lost its
 * power has lost its containers as well. A lease that comes back empty is still found by its entry's name, and freed by DEL or GC.
 */

import {
  accessSync,
  closeSync,
  constants,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { StoreError } from '../errors.ts';
import { type Address, equalAddress, formatAddress, parseAddress } from '../net/address.ts';
import type { Prefix } from '../net/prefix.ts';
import { candidates, formatRangeSet, type Range, type RangeSet, rangeOf, sizeOf } from '../net/range.ts';
import {
  formatOwner,
  guarded,
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
import { attempts, LeaseIndex, noLinks } from './lease-index.ts';

export type { Owner } from './lease-files.ts';

/** An address with its subnet's length, and the gateway of its range. */
export interface Lease {
  address: Prefix;
  gateway: Address;
}

/** So many taken addresses in a row are looked at one by one; then the folder is listed once. */
const probes = 64;

/** An address of a set, and the range it is from. */
interface Choice {
  address: Address;
  range: Range;
}

interface Held {
  owner: Owner;
  address: Address;
}

export class Leases {
  readonly #dir: string;
  readonly #index: LeaseIndex;

  /** Touches nothing; the folders come with the first lease. */
  constructor(dataDir: string, network: string) {
    this.#dir = join(dataDir, network);
    this.#index = new LeaseIndex(this.#dir, join(dataDir, '.culvert', network));
  }

  /**
   * Leases an address of the set: the requested one or the next in turn. Throws StoreError: `duplicate` (the owner has one of
   * this set already and asked for none in particular), `taken`, `outside` (not in the set, or the gateway), `exhausted`, `io`.
   */
  reserve(owner: Owner, setIndex: number, set: RangeSet, requested?: Address): Lease {
    return guarded(() => {
      this.#index.adoptForeign();
      try {
        const choice = requested ? this.#reserveThis(owner, set, requested) : this.#reserveNext(owner, setIndex, set);
        this.#remember(owner, setIndex, choice.address);
        return {
          address: { address: choice.address, length: choice.range.subnet.length },
          gateway: choice.range.gateway,
        };
      } catch (error) {
        this.#index.tidy(owner);
        throw error;
      }
    });
  }

  /** The addresses leased to an owner. */
  held(owner: Owner): Address[] {
    return guarded(() => this.#find(owner).map(({ address }) => address));
  }

  /** Who has leased an address. */
  ownerOf(address: Address): Owner | undefined {
    const text = guarded(() => read(leaseFile(this.#dir, address)));
    return text === undefined ? undefined : parseOwner(text);
  }

  /** Frees all that an owner holds, or only some of it, and answers what was freed. */
  release(owner: Owner, only?: readonly Address[]): Address[] {
    return guarded(() => {
      const found = only ? only.map((address) => ({ owner, address })) : this.#find(owner);
      const freed = found.filter((held) => this.#free(held));
      for (const { owner: holder } of [{ owner }, ...found]) this.#index.tidy(holder);
      return freed.map(({ address }) => address);
    });
  }

  /** Frees every lease whose owner is not to be kept, and what killed processes left. A lease without text is nobody's: its owner has no name. */
  sweep(keep: (owner: Owner) => boolean): { owner: Owner; address: Address }[] {
    return guarded(() => {
      const freed: Held[] = [];
      for (const address of leasedIn(this.#dir)) {
        const text = read(leaseFile(this.#dir, address));
        if (text === undefined) continue;
        const owner = parseOwner(text);
        if (!keep(owner) && this.#free({ owner, address }, text)) freed.push({ owner, address });
      }
      this.#index.tidyAll();
      return freed;
    });
  }

  /** How many addresses each set has, and how many of them are leased. */
  usage(sets: readonly RangeSet[]): { size: bigint; taken: bigint }[] {
    return guarded(() => {
      const leased = leasedIn(this.#dir);
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

  #lastFile(setIndex: number): string {
    return join(this.#dir, `last_reserved_ip.${setIndex}`);
  }

  /**
   * Where the round robin goes on; a lease that cannot be followed by this is given back. Written in place: on ext4 a rename over
   * the old file, or cutting it to nothing first, waits for the disk and takes longer than all the rest. What two writers at once or a
   * killed one leave is another address or none, and only says where to look first.
   */
  #remember(owner: Owner, setIndex: number, address: Address): void {
    const text = formatAddress(address);
    try {
      const file = openSync(this.#lastFile(setIndex), constants.O_RDWR | constants.O_CREAT, 0o600);
      try {
        writeSync(file, text);
        ftruncateSync(file, text.length);
      } finally {
        closeSync(file);
      }
    } catch (error) {
      this.#free({ owner, address });
      throw error;
    }
  }

  #reserveThis(owner: Owner, set: RangeSet, address: Address): Choice {
    const text = formatAddress(address);
    const range = rangeOf(set, address);
    if (!range) throw new StoreError('outside', `requested address ${text} is not in range set ${formatRangeSet(set)}`);
    if (equalAddress(range.gateway, address)) {
      throw new StoreError('outside', `requested address ${text} is the gateway of ${formatRangeSet([range])}`);
    }
    if (this.#claim(owner, address)) return { address, range };
    const holder = this.ownerOf(address);
    const who = holder ? ` to container ${holder.containerId}, interface ${holder.ifname}` : '';
    throw new StoreError('taken', `requested address ${text} is already leased${who}`);
  }

  #reserveNext(owner: Owner, setIndex: number, set: RangeSet): Choice {
    const owners = [owner, { ...owner, ifname: '' }];
    const own = owners.flatMap((o) => this.#index.addresses(o)).find((a) => rangeOf(set, a));
    if (own) {
      const what = `${formatAddress(own)} is already leased to container ${owner.containerId}, interface ${owner.ifname}`;
      throw new StoreError('duplicate', `${what}: a second ADD needs a DEL first`);
    }
    const last = parseAddress(read(this.#lastFile(setIndex)) ?? '');
    let left = probes;
    for (const choice of candidates(set, last)) {
      if (left-- === 0) break;
      if (this.#claim(owner, choice.address)) return choice;
    }
    return this.#reserveFromList(owner, set, last);
  }

  /** Goes by one listing of the folder, and by a new one when others took all that was free in it. */
  #reserveFromList(owner: Owner, set: RangeSet, last: Address | undefined): Choice {
    for (let outrun = true; outrun; ) {
      outrun = false;
      const taken = new Set(list(this.#dir));
      for (const choice of candidates(set, last)) {
        if (taken.has(formatAddress(choice.address))) continue;
        if (this.#claim(owner, choice.address)) return choice;
        outrun = true;
      }
    }
    const what = `no free address in range set ${formatRangeSet(set)}: all ${sizeOf(set)} are leased`;
    throw new StoreError('exhausted', `${what}; delete unused pods, run GC or widen the range`);
  }

  /** Takes the address if nobody has it. */
  #claim(owner: Owner, address: Address): boolean {
    const lease = leaseFile(this.#dir, address);
    if (stat(lease)) return false;
    for (let i = 0; i < attempts; i++) {
      const entry = this.#index.write(owner, address);
      const failed = unless(['EEXIST', 'ENOENT', ...noLinks], () => linkSync(entry, lease));
      if (failed === undefined) return true;
      if (failed !== 'ENOENT') remove(entry);
      if (failed === 'EEXIST') return false;
      if (failed !== 'ENOENT') {
        const what = `cannot make a hard link ${lease} to ${entry} (${failed})`;
        throw new StoreError('io', `${what}: give a dataDir that is one filesystem with hard links`);
      }
      // somebody removed our entry or the network's folder
      mkdirSync(this.#dir, { recursive: true, mode: 0o755 });
    }
    throw new StoreError('io', `cannot lease ${formatAddress(address)}: its entry or ${this.#dir} keeps vanishing`);
  }

  /** An owner's leases; when there are none, those of its container in the format without interface. */
  #find(owner: Owner): Held[] {
    for (const o of [owner, { ...owner, ifname: '' }]) {
      const indexed = this.#index.addresses(o);
      const foreign = indexed.length === 0 || stat(join(this.#dir, 'lock')) ? this.#foreign(o, indexed) : [];
      const found = [...indexed, ...foreign];
      if (found.length > 0) return found.map((address) => ({ owner: o, address }));
    }
    return [];
  }

  /** An owner's leases that are in no index: the slow way, reading all that have a link count of 1. */
  #foreign(owner: Owner, known: readonly Address[]): Address[] {
    const text = formatOwner(owner);
    return leasedIn(this.#dir).filter((a) => {
      const file = leaseFile(this.#dir, a);
      return stat(file)?.nlink === 1 && read(file) === text && !known.some((k) => equalAddress(k, a));
    });
  }

  /**
   * Frees an address if it is the owner's. The lease is moved aside, looked at again and only then removed: a second DEL of the
   * same owner may have been faster and the address be another's by now, who then gets it back.
   */
  #free({ owner, address }: Held, text = this.#index.textOf(owner, address)): boolean {
    const lease = leaseFile(this.#dir, address);
    const entry = this.#index.entry(owner, address);
    if (text === undefined) {
      remove(entry);
      return false;
    }
    const aside = `${entry}.freed`;
    this.#index.ensureFolder(dirname(entry));
    if (unless(['ENOENT'], () => renameSync(lease, aside))) return false;
    const freed = read(aside) === text;
    if (!freed) unless(['EEXIST', 'ENOENT'], () => linkSync(aside, lease));
    remove(aside);
    remove(entry);
    return freed;
  }
}

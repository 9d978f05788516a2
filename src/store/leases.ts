/**
 * Leased addresses on disk, in host-local's own format, so that a node can change suites with its pods running:
 *
 *     <dataDir>/<network>/<address>                              one lease: "<container id>\r\n<interface>"
 *     <dataDir>/<network>/last_reserved_ip.<set>                 where the round robin goes on
 *     <dataDir>/.culvert/<network>/<hash of owner>/<entry>       our index: a hard link to the lease
 *
 * To lease an address is to write the entry in the index first and then to link it to the lease's name. link(2) either makes
 * the lease appear with all its text or says that the address is taken: no lock is held, so nobody waits for a process that
 * died. The entry comes before the lease and goes after it, so every lease of ours is found through its owner without reading
 * the folder; what a killed process leaves is an entry without a lease, which means nothing and is swept up in passing. The
 * entry's name says in which boot and for which namespace the lease was made (lease-identity.ts): leases of an earlier boot are
 * nobody's any more, and are leased again when there is nothing else.
 *
 * Leases that another suite wrote have no entry, which shows in their link count of 1. They are found by reading what they say:
 * when an owner that is to be released has no entry, and by GC. ADD has to see a duplicate among them but cannot read 60,000
 * files: it takes them into the index when the folder is small, or of middling size and there is reason to look (lease-index.ts).
 *
 * Nothing is synced to disk: syncing file and folder would double or triple the time a lease takes, and a node that lost its
 * power has lost its containers as well. A lease that comes back empty is still found by its entry's name, and freed.
 */

import { accessSync, closeSync, constants, ftruncateSync, openSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { StoreError } from '../errors.ts';
import { type Address, equalAddress, formatAddress, parseAddress } from '../net/address.ts';
import type { Prefix } from '../net/prefix.ts';
import { candidates, formatRangeSet, type Range, type RangeSet, rangeOf, sizeOf } from '../net/range.ts';
import { formatOwner, guarded, leasedIn, leaseFile, list, type Owner, parseOwner, read, stat } from './lease-files.ts';
import { LeaseFolder } from './lease-folder.ts';
import { bootIdFile, identify, readBootId } from './lease-identity.ts';
import type { Found } from './lease-index.ts';

export type { Owner } from './lease-files.ts';
export type { Found } from './lease-index.ts';

/** Who asks for a lease, and the path of its network namespace as the runtime gives it. */
export interface Claimant extends Owner {
  readonly netns?: string;
}

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

/** The owner of leases that a sweep is just freeing: nobody gets their addresses meanwhile. */
export const sweeper: Owner = { containerId: 'culvert-sweep', ifname: 'sweep' };

export class Leases {
  readonly #folder: LeaseFolder;
  readonly #bootIdFile: string;
  #knownBootId: string | undefined;

  /** Touches nothing; the folders come with the first lease. */
  constructor(dataDir: string, network: string, bootId = bootIdFile) {
    this.#folder = new LeaseFolder(dataDir, network);
    this.#bootIdFile = bootId;
  }

  get #dir(): string {
    return this.#folder.dir;
  }

  /**
   * Leases an address of the set: the requested one or the next in turn. Throws StoreError: `duplicate` (the owner has one of
   * this set already and asked for none in particular), `taken`, `outside` (not in the set, or the gateway), `exhausted`, `io`.
   */
  reserve(owner: Claimant, setIndex: number, set: RangeSet, requested?: Address): Lease {
    return guarded(() => {
      this.#folder.index.adoptForeign();
      try {
        const choice = requested ? this.#reserveThis(owner, set, requested) : this.#reserveNext(owner, setIndex, set);
        this.#remember(owner, setIndex, choice.address);
        return {
          address: { address: choice.address, length: choice.range.subnet.length },
          gateway: choice.range.gateway,
        };
      } catch (error) {
        this.#folder.index.tidy(owner);
        throw error;
      }
    });
  }

  /** The addresses leased to an owner. */
  held(owner: Owner): Address[] {
    return guarded(() => this.#folder.find(owner).map(({ address }) => address));
  }

  /** Who has leased an address. */
  ownerOf(address: Address): Owner | undefined {
    const text = guarded(() => read(leaseFile(this.#dir, address)));
    return text === undefined ? undefined : parseOwner(text);
  }

  /** Frees all that an owner holds, or only some of it, and answers what was freed. */
  release(owner: Owner, only?: readonly Address[]): Address[] {
    return guarded(() => {
      const found = this.#folder.find(owner).filter((f) => !only || only.some((a) => equalAddress(a, f.address)));
      const freed = found.filter((f) => this.#folder.free(f));
      for (const { owner: holder } of [{ owner }, ...found]) this.#folder.index.tidy(holder);
      return freed.map(({ address }) => address);
    });
  }

  /** Frees every lease whose owner is not to be kept, and what killed processes left. A lease without text is nobody's: its owner has no name. */
  sweep(keep: (owner: Owner) => boolean): { owner: Owner; address: Address }[] {
    return guarded(() => {
      const goes = (f: Found) => (f.text === formatOwner(sweeper) ? this.#isEarlier(f) : !keep(f.owner));
      const freed = this.#folder.list().filter((found) => goes(found) && this.#folder.free(found));
      this.#folder.index.tidyAll();
      return freed;
    });
  }

  /** Every lease. Reads them all. */
  list(): Found[] {
    return guarded(() => this.#folder.list());
  }

  /** Frees exactly the lease that was found, and no later one of its address; answers whether it did. */
  free(found: Found): boolean {
    return guarded(() => this.#folder.free(found));
  }

  /**
   * Frees exactly the lease that was found, but keeps its address from being leased: the sweeper has a lease of it then, which is
   * answered too, and to be freed. It has none when somebody else was faster.
   */
  replace(found: Found): { freed: boolean; placeholder?: Found | undefined } {
    return guarded(() => {
      if (!this.#folder.free(found)) return { freed: false };
      const taken = this.#folder.claim(sweeper, found.address, identify('', this.#bootId));
      return { freed: true, placeholder: taken ? this.#folder.index.at(found.address) : undefined };
    });
  }

  /** Removes what killed processes left in the index. */
  tidy(): void {
    guarded(() => this.#folder.index.tidyAll());
  }

  /** How many addresses each set has, and how many of them are leased; leases of earlier boots do not count in a full set. */
  usage(sets: readonly RangeSet[]): { size: bigint; taken: bigint }[] {
    return guarded(() => {
      const leased = leasedIn(this.#dir);
      return sets.map((set) => {
        const size = sizeOf(set);
        const taken = leased.filter((a) => {
          const range = rangeOf(set, a);
          return range && !equalAddress(range.gateway, a);
        });
        // what an ADD would find free after all
        const stale = taken.length >= size ? taken.filter((a) => this.#isEarlier(this.#folder.index.at(a))) : [];
        return { size, taken: BigInt(taken.length - stale.length) };
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
  #remember(owner: Claimant, setIndex: number, address: Address): void {
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
      for (const found of this.#folder.find(owner)) {
        if (equalAddress(found.address, address)) this.#folder.free(found);
      }
      throw error;
    }
  }

  #claim(owner: Claimant, address: Address): boolean {
    if (stat(leaseFile(this.#dir, address))) return false;
    return this.#folder.claim(owner, address, identify(owner.netns ?? '', this.#bootId));
  }

  get #bootId(): string {
    this.#knownBootId ??= readBootId(this.#bootIdFile);
    return this.#knownBootId;
  }

  #isEarlier(found: Found | undefined): found is Found {
    const bootId = found?.entry?.identity?.bootId ?? '';
    return bootId !== '' && this.#bootId !== '' && bootId !== this.#bootId;
  }

  /** Frees a lease of an earlier boot; answers whether it was one and went. */
  #freeEarlier(found: Found | undefined): boolean {
    return this.#isEarlier(found) && this.#folder.free(found);
  }

  #reserveThis(owner: Claimant, set: RangeSet, address: Address): Choice {
    const text = formatAddress(address);
    const range = rangeOf(set, address);
    if (!range) throw new StoreError('outside', `requested address ${text} is not in range set ${formatRangeSet(set)}`);
    if (equalAddress(range.gateway, address)) {
      throw new StoreError('outside', `requested address ${text} is the gateway of ${formatRangeSet([range])}`);
    }
    if (this.#claim(owner, address)) return { address, range };
    if (this.#freeEarlier(this.#folder.index.at(address)) && this.#claim(owner, address)) return { address, range };
    const holder = this.ownerOf(address);
    const who = holder ? ` to container ${holder.containerId}, interface ${holder.ifname}` : '';
    throw new StoreError('taken', `requested address ${text} is already leased${who}`);
  }

  #reserveNext(owner: Claimant, setIndex: number, set: RangeSet): Choice {
    const owners = [owner, { ...owner, ifname: '' }];
    const own = owners
      .flatMap((o) => this.#folder.index.find(o))
      .find((f) => rangeOf(set, f.address) && !this.#freeEarlier(f));
    if (own) {
      const what = `${formatAddress(own.address)} is already leased to container ${owner.containerId}, interface ${owner.ifname}`;
      throw new StoreError('duplicate', `${what}: a second ADD needs a DEL first`);
    }
    const last = parseAddress(read(this.#lastFile(setIndex)) ?? '');
    let left = probes;
    for (const choice of candidates(set, last)) {
      if (left-- === 0) break;
      if (this.#claim(owner, choice.address)) return choice;
    }
    return this.#reserveFromList(owner, set, last) ?? this.#reserveEarlier(owner, set, last);
  }

  /** Goes by one listing of the folder, and by a new one when others took all that was free in it. */
  #reserveFromList(owner: Claimant, set: RangeSet, last: Address | undefined): Choice | undefined {
    for (let outrun = true; outrun; ) {
      outrun = false;
      const taken = new Set(list(this.#dir));
      for (const choice of candidates(set, last)) {
        if (taken.has(formatAddress(choice.address))) continue;
        if (this.#claim(owner, choice.address)) return choice;
        outrun = true;
      }
    }
    return undefined;
  }

  /** An address whose lease is of an earlier boot: its container is gone, whoever should have freed it. */
  #reserveEarlier(owner: Claimant, set: RangeSet, last: Address | undefined): Choice {
    for (const choice of candidates(set, last)) {
      const { address } = choice;
      if (this.#freeEarlier(this.#folder.index.at(address)) && this.#claim(owner, address)) return choice;
    }
    const what = `no free address in range set ${formatRangeSet(set)}: all ${sizeOf(set)} are leased`;
    throw new StoreError('exhausted', `${what}; delete unused pods, run "culvert ipam sweep" or widen the range`);
  }
}

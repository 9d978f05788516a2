/** The files of the lease store: what a lease says, and file operations with the errors that are part of the plan. */

import { lstatSync, readdirSync, readFileSync, type Stats, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { StoreError } from '../errors.ts';
import { type Address, formatAddress, parseAddress } from '../net/address.ts';

/** Whom an address is leased to. Leases of old versions of host-local name no interface: `ifname` is empty then. */
export interface Owner {
  containerId: string;
  ifname: string;
}

/** host-local's own format: readers of other suites compare the whole text. */
export const formatOwner = (o: Owner): string => (o.ifname === '' ? o.containerId : `${o.containerId}\r\n${o.ifname}`);

export function parseOwner(text: string): Owner {
  const [containerId = '', ...rest] = text.split('\r\n');
  return { containerId, ifname: rest.join('\r\n') };
}

/** The address a file of a network's folder leases; undefined for `lock`, `last_reserved_ip.0` and whatever else lies there. */
export function leaseAddress(fileName: string): Address | undefined {
  const address = parseAddress(fileName);
  return address && formatAddress(address) === fileName ? address : undefined;
}

const errnoOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? '';

/** Does it, and answers which of the expected errors came up, if any. Others are thrown. */
export function unless(expected: readonly string[], operation: () => unknown): string | undefined {
  try {
    operation();
    return undefined;
  } catch (error) {
    if (expected.includes(errnoOf(error))) return errnoOf(error);
    throw error;
  }
}

const absent = ['ENOENT', 'ENOTDIR'];

/** Removes a file; answers whether it was there. */
export const remove = (file: string): boolean => unless(absent, () => unlinkSync(file)) === undefined;

export const stat = (file: string): Stats | undefined => lstatSync(file, { throwIfNoEntry: false });

/** Whether a file is the very one that was seen: numbers of inodes are used again, and then the time differs. */
export const isInstance = (file: Stats | undefined, seen: Pick<Stats, 'ino' | 'mtimeMs'>): boolean =>
  file?.ino === seen.ino && file.mtimeMs === seen.mtimeMs;

/** A file's text without white space around it, or undefined when there is no such file. */
export function read(file: string): string | undefined {
  let text: string | undefined;
  unless([...absent, 'EISDIR'], () => {
    text = readFileSync(file, 'utf8').trim();
  });
  return text;
}

/** The names in a folder; none when there is no such folder. */
export function list(folder: string): string[] {
  let names: string[] = [];
  unless(absent, () => {
    names = readdirSync(folder);
  });
  return names;
}

export const leaseFile = (folder: string, address: Address): string => join(folder, formatAddress(address));

/** The addresses leased in a network's folder. */
export const leasedIn = (folder: string): Address[] => list(folder).flatMap((name) => leaseAddress(name) ?? []);

/** What the filesystem refuses beyond the plan comes out as StoreError io; the system's text names call and file. */
export function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof StoreError || errnoOf(error) === '') throw error;
    throw new StoreError('io', `the lease store fails: ${(error as Error).message}`, { cause: error });
  }
}

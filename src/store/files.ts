/** Small files that other processes read while we write them. */

import {
  closeSync,
  fchmodSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { isObject } from '../decode.ts';

/** A file's text; undefined where there is no such file. */
export function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** What a file is called until it takes its place, and stays when we are killed. A leading dot: runtimes read every *.conflist of a folder. */
export const passingOf = (file: string): string => join(dirname(file), `.${basename(file)}.next`);

/**
 * Replaces a file whole, by rename: nobody ever reads half of it, and after a crash it is the old one or the new one. Its folder
 * is made if need be, its rights stay (a new file: 0644) unless `mode` says others, and a symbolic link goes on leading to it.
 */
export function replaceFile(file: string, text: string, mode?: number): void {
  const old = statSync(file, { throwIfNoEntry: false });
  const target = old ? realpathSync(file) : file;
  mkdirSync(dirname(target), { recursive: true });
  const next = passingOf(target);
  rmSync(next, { force: true }); // one left by a crash has rights of its own
  try {
    const fd = openSync(next, 'w', 0o600);
    try {
      writeFileSync(fd, text);
      fchmodSync(fd, mode ?? (old ? old.mode & 0o7777 : 0o644));
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(next, target);
  } catch (error) {
    rmSync(next, { force: true });
    throw error;
  }
}

/** The same where the text differs; answers whether it did. */
export function replaceIfOther(file: string, text: string, mode?: number): boolean {
  if (readIfThere(file) === text) return false;
  replaceFile(file, text, mode);
  return true;
}

/** The JSON in a file; undefined where there is none that can be read. */
export function readDocument(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/** The entries of a JSON object in a file whose values are right; none where there is no such file. */
export function readEntries<T>(file: string, isRight: (value: unknown) => value is T): Map<string, T> {
  const document = readDocument(file);
  const entries = isObject(document) ? Object.entries(document) : [];
  return new Map(entries.filter((e): e is [string, T] => isRight(e[1])));
}

/** Writes JSON where it differs; answers whether it did. */
export const writeDocument = (file: string, document: object): boolean =>
  replaceIfOther(file, `${JSON.stringify(document, null, 2)}\n`);

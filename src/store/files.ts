/** Small text files that other processes read while we write them. */

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

/** A file's text; undefined where there is no such file. */
export function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Replaces a file whole, by rename: nobody ever reads half of it, and after a crash it is the old one or the new one. Its folder
 * is made if need be, its rights stay (a new file: 0644) unless `mode` says others, and a symbolic link goes on leading to it.
 */
export function replaceFile(file: string, text: string, mode?: number): void {
  const old = statSync(file, { throwIfNoEntry: false });
  const target = old ? realpathSync(file) : file;
  mkdirSync(dirname(target), { recursive: true });
  // a leading dot: runtimes read every *.conflist of a folder
  const next = join(dirname(target), `.${basename(target)}.next`);
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

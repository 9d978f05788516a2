/**
 * The mark that the build writes behind the executable's last byte, where no loader looks: which version and build it is, and
 * that it is ours. It tells without running a program whose it may be.
 */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

export interface Mark {
  readonly version: string;
  /** Digits of the SHA-256 of all that stands before the mark. */
  readonly build: string;
}

/** No mark is longer. */
const most = 128;

export const formatMark = ({ version, build }: Mark): string => `\nculvert ${version} ${build}\n`;

export function parseMark(end: string): Mark | undefined {
  const [, version, build] = /\nculvert ([0-9][\w.+-]*) ([0-9a-f]{16})\n$/.exec(end) ?? [];
  return version !== undefined && build !== undefined ? { version, build } : undefined;
}

/** The mark of a file, links followed; undefined when it is absent, no file or not ours. */
export function readMark(file: string): Mark | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(file, 'r');
    const { size } = fstatSync(fd);
    const end = Buffer.alloc(Math.min(size, most));
    readSync(fd, end, 0, end.length, size - end.length);
    return parseMark(end.toString('latin1'));
  } catch {
    return undefined; // nothing that could be ours
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

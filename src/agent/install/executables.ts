/**
 * The plugins in a runtime's folder: two real files, `culvert` and `culvert-node`, which it becomes, and a symbolic link to the first
 * for every other name. What is there is read, what is to be done is planned from that, and every single file takes its place by
 * rename: a runtime may be executing the old one ("text file busy"), and finds one or the other at any moment.
 */

import { randomBytes } from 'node:crypto';
import { constants, lstatSync, mkdirSync, readdirSync, readlinkSync } from 'node:fs';
import { chmod, copyFile, open, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mainName, nodeName } from '../../kernel/own.ts';
import { type Mark, readMark } from './mark.ts';

/** The real files, in the order in which they are put there: no moment has one that cannot run. */
const realFiles = [nodeName, mainName];

export const isReal = (name: string): boolean => realFiles.includes(name);

/** All names in the folder, of the plugins and of what stands behind them. */
export const executableNames = (plugins: readonly string[]): string[] => [...plugins, nodeName];

/** What stands under a name. A copy of ours may be reached by a link of somebody else's. */
export type Found =
  | { readonly name: string; readonly kind: 'absent' | 'link' | 'foreign' }
  | { readonly name: string; readonly kind: 'copy'; readonly mark: Mark };

/** What to do with another's file under one of our names, and with a copy of ours that is another build. */
export interface Wishes {
  readonly foreign: 'keep' | 'replace';
  readonly otherBuild: 'keep' | 'replace';
}

export interface Step {
  readonly op: 'copy' | 'link';
  readonly name: string;
  /** What was there, in words. */
  readonly was: string;
}

export interface Kept {
  readonly name: string;
  readonly why: 'foreign' | 'other-build';
  /** Of another build. */
  readonly mark?: Mark;
}

export interface InstallPlan {
  readonly steps: readonly Step[];
  readonly kept: readonly Kept[];
}

function lookAtOne(folder: string, name: string): Found {
  const file = join(folder, name);
  const stats = lstatSync(file, { throwIfNoEntry: false });
  if (!stats) return { name, kind: 'absent' };
  if (!isReal(name) && stats.isSymbolicLink() && readlinkSync(file) === mainName) return { name, kind: 'link' };
  const mark = readMark(file);
  return mark ? { name, kind: 'copy', mark } : { name, kind: 'foreign' };
}

/** What stands under these names. */
export const look = (folder: string, names: readonly string[]): Found[] => names.map((name) => lookAtOne(folder, name));

export const describe = ({ version, build }: Mark): string => `culvert ${version} (build ${build})`;

/** What to do so that every name leads to the build `own`. Nothing is done to what is right already. */
export function plan(found: readonly Found[], own: Mark, wishes: Wishes): InstallPlan {
  const steps: Step[] = [];
  const kept: Kept[] = [];
  for (const entry of found) {
    const { name, kind } = entry;
    const op = isReal(name) ? 'copy' : 'link';
    if (kind === 'absent') steps.push({ op, name, was: 'nothing' });
    else if (kind === 'foreign') {
      if (wishes.foreign === 'replace') steps.push({ op, name, was: "another program's file" });
      else kept.push({ name, why: 'foreign' });
    } else if (kind === 'copy' && entry.mark.build !== own.build) {
      if (wishes.otherBuild === 'replace') steps.push({ op, name, was: describe(entry.mark) });
      else kept.push({ name, why: 'other-build', mark: entry.mark });
    }
  }
  return { steps, kept };
}

/** A leading dot and no name of a plugin: no runtime looks there. */
const passing = (folder: string, name: string): string =>
  join(folder, `.${name}.${randomBytes(4).toString('hex')}.next`);

/** Longer than any copy takes: then whoever made it has died. */
const abandonedMs = 600_000;

/** What a killed installation left: files of passing names. */
export function abandoned(folder: string, names: readonly string[], nowMs = Date.now()): string[] {
  let files: string[] = [];
  try {
    files = readdirSync(folder);
  } catch {
    return []; // no folder, nothing in it
  }
  return files.filter((file) => {
    const [, name] = /^\.(.+)\.[0-9a-f]{8}\.next$/.exec(file) ?? [];
    if (name === undefined || !names.includes(name)) return false;
    const stats = lstatSync(join(folder, file), { throwIfNoEntry: false });
    return stats !== undefined && nowMs - stats.mtimeMs > abandonedMs;
  });
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes it under a passing name, then renames. */
async function place(folder: string, name: string, make: (next: string) => Promise<void>): Promise<void> {
  const next = passing(folder, name);
  try {
    await make(next);
    await rename(next, join(folder, name));
  } catch (error) {
    await rm(next, { force: true });
    throw error;
  }
}

/** Where the real files come from: the Node executable's file, and the bytes of what is executed, which it has in itself. */
export interface Sources {
  readonly node: string;
  readonly main: () => Buffer;
}

async function copy(name: string, { node, main }: Sources, next: string): Promise<void> {
  // shares the blocks where the filesystem can
  if (name === nodeName) await copyFile(node, next, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  else await writeFile(next, main(), { flag: 'wx' });
  await chmod(next, 0o755);
  await sync(next);
}

/** Makes the steps, each file before what leads to it. Throws the system's error. */
export async function apply(folder: string, steps: readonly Step[], sources: Sources): Promise<void> {
  if (steps.length === 0) return;
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const ordered = [
    ...realFiles.flatMap((name) => steps.filter((s) => s.name === name)),
    ...steps.filter((s) => s.op === 'link'),
  ];
  for (const { op, name } of ordered) {
    await place(folder, name, (next) => (op === 'copy' ? copy(name, sources, next) : symlink(mainName, next)));
  }
  const left = abandoned(
    folder,
    steps.map((s) => s.name),
  );
  for (const file of left) await rm(join(folder, file), { force: true });
  await sync(folder);
}

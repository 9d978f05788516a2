/**
 * Things that are costly to make and stay the same: folders below the cache, named after what went into them. Made beside their
 * place and moved there whole, so that neither a crash nor two makers at once leave half of one.
 */

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** CULVERT_VM_CACHE, so that root and the user who called it share one; else where the user keeps caches. */
export const cacheDir = (): string =>
  process.env['CULVERT_VM_CACHE'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'culvert/vm');

export const digest = (...parts: readonly string[]): string =>
  createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 16);

const unusedDays = 14;

/** Removes what nobody asked for in two weeks. */
function prune(): void {
  const old = Date.now() - unusedDays * 24 * 3_600_000;
  for (const name of readdirSync(cacheDir())) {
    const path = join(cacheDir(), name);
    const found = statSync(path, { throwIfNoEntry: false });
    if (found && found.mtimeMs < old) rmSync(path, { recursive: true, force: true });
  }
}

/** The folder `name-key`, made by `make` when it is not there. */
export async function cached(name: string, key: string, make: (dir: string) => Promise<void>): Promise<string> {
  const final = join(cacheDir(), `${name}-${key}`);
  if (existsSync(final)) {
    touch(final);
    return final;
  }
  mkdirSync(cacheDir(), { recursive: true });
  prune();
  const dir = mkdtempSync(join(cacheDir(), `.${name}-`));
  try {
    await make(dir);
    renameSync(dir, final);
  } catch (error) {
    rmSync(dir, { recursive: true, force: true });
    if (!existsSync(final)) throw error; // else somebody else was faster
  }
  return final;
}

/** Says that it is in use; somebody else's folder that we may only read stays as it is. */
function touch(path: string): void {
  try {
    utimesSync(path, new Date(), new Date());
  } catch (error) {
    if (!['EPERM', 'EACCES', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

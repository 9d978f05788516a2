/**
 * Node's single executables, and what Node has no setting for done to its files: the code cache taken out of a start-up snapshot, and a
 * snapshot that was built before put into an executable. Numbers in both are little endian, lengths are u64.
 */

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Files are named as seen from the folder that it is built in. */
export interface Executable {
  /** A script, or a start-up snapshot that was built before. */
  readonly main: string;
  readonly isSnapshot?: boolean;
  readonly output: string;
  /** What Node's command line begins with in every process. */
  readonly execArgv?: readonly string[];
  /** Names and files. */
  readonly assets?: Readonly<Record<string, string>>;
}

/** Builds a single executable of this Node in a folder, where its configuration stays as sea.json. Answers its bytes. */
export function buildExecutable(dir: string, { isSnapshot = false, ...executable }: Executable): Buffer {
  const config = { ...executable, disableExperimentalSEAWarning: true };
  writeFileSync(join(dir, 'sea.json'), JSON.stringify(config, null, 2));
  const argv = ['--no-warnings', '--build-sea', 'sea.json'];
  execFileSync(process.execPath, argv, { cwd: dir, stdio: ['ignore', 'ignore', 'inherit'] });
  const output = join(dir, executable.output);
  const bytes = readFileSync(output);
  if (isSnapshot) writeFileSync(output, withSnapshotAsMain(bytes, executable.main));
  return bytes;
}

/** Node has some 440 modules. Numbers in between are found all over a snapshot, and lengths that lead from one of them to its end, too. */
const modules = { atLeast: 100, atMost: 2000 };
const longestName = 200;
/** "internal/deps/undici/undici" */
const isModuleName = (name: string): boolean => name.length <= longestName && /^[\w./-]+$/.test(name);

/**
 * A start-up snapshot without Node's code cache, which is what the file ends with (src/node_snapshotable.cc): how many entries, and
 * of each the length of a module's name, the name, the length of its code, the code. Every process would copy it at its start. The
 * builder's own `withoutCodeCache` throws away with it whatever functions V8 has compiled in the snapshot.
 */
export function withoutCodeCache(snapshot: Buffer): Buffer {
  const u64 = (at: number): number => (at + 8 <= snapshot.length ? Number(snapshot.readBigUInt64LE(at)) : Infinity);
  const isCodeCache = (start: number): boolean => {
    const count = u64(start);
    if (count < modules.atLeast || count > modules.atMost) return false;
    let at = start + 8;
    for (let i = 0; i < count; i++) {
      const name = snapshot.toString('latin1', at + 8, at + 8 + Math.min(u64(at), longestName + 1));
      if (!isModuleName(name)) return false;
      at += 8 + name.length;
      at += 8 + u64(at); // the code
    }
    return at === snapshot.length;
  };
  for (let start = 0; start < snapshot.length; start++) {
    if (isCodeCache(start)) return Buffer.concat([snapshot.subarray(0, start), Buffer.alloc(8)]);
  }
  throw new Error('no code cache at the end of the snapshot; is this another Node than 26?');
}

/** The header of what --build-sea puts into an executable begins so (src/node_sea.cc). */
const magic = 0x143da20;
/** SeaFlags::kUseSnapshot. */
const useSnapshot = 1 << 1;

/**
 * Marks the main script of an executable as a snapshot that was built before: --build-sea makes snapshots by itself alone, and with
 * the code cache. The header has: magic (u32), flags (u32), where arguments may come from (u8), the main script's format (u8), the length
 * of the main script's path, the path, and then the script or snapshot.
 */
export function withSnapshotAsMain(executable: Buffer, path: string): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(path.length));
  const pathField = Buffer.concat([length, Buffer.from(path)]);
  const found = executable.indexOf(pathField);
  const header = found - 10;
  if (found < 0 || executable.readUInt32LE(header) !== magic || executable.indexOf(pathField, found + 1) >= 0) {
    throw new Error(`no header of a single executable with main "${path}"; is this another Node than 26?`);
  }
  executable.writeUInt32LE(executable.readUInt32LE(header + 4) | useSnapshot, header + 4);
  return executable;
}

/** What the interface was before ADD tuned it, in a file per attachment: the reference plugin's files, with the network's name. */

import { mkdirSync, readdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { code } from '../../src/cni/error.ts';
import type { Request, ValidAttachment } from '../../src/cni/types.ts';
import { Fields, isObject } from '../../src/decode.ts';
import { CniError } from '../../src/errors.ts';
import { unless } from '../../src/store/lease-files.ts';
import { decodeMacKey } from '../attachment/conf.ts';
import type { LinkTuning } from './conf.ts';

const fileName = ({ containerId, ifname }: ValidAttachment): string => `${containerId}_${ifname}.json`;

/** Throws CniError 5. */
export function writeBackup(dataDir: string, request: Request, was: LinkTuning): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    writeFileSync(join(dataDir, fileName(request)), JSON.stringify({ ...was, network: request.name }), { mode: 0o600 });
  } catch (error) {
    throw new CniError(code.io, `dataDir: cannot keep what the interface was: ${(error as Error).message}`, '', {
      cause: error,
    });
  }
}

/** What is kept; undefined when there is nothing. Throws ConfigError or SyntaxError for what is no backup. */
export function readBackup(dataDir: string, request: Request): LinkTuning | undefined {
  let text: string;
  try {
    text = readFileSync(join(dataDir, fileName(request)), 'utf8');
  } catch {
    return undefined;
  }
  return Fields.read(JSON.parse(text), fileName(request), (f) => {
    f.ignoreRest();
    const fields = {
      mac: decodeMacKey(f),
      promisc: f.boolean('promisc'),
      mtu: f.integer('mtu', 0, 0x7fff_ffff) || undefined,
      allmulti: f.boolean('allmulti'),
      txQLen: f.integer('txQLen', 0, 0xffff_ffff),
    };
    return Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== undefined)) as LinkTuning;
  });
}

/** A container whose name is too long for a file's never had one. */
export const removeBackup = (dataDir: string, request: Request): void =>
  void unless(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG'], () => unlinkSync(join(dataDir, fileName(request))));

/** Whose a file is: the reference plugin's name no network, and are not ours to collect. */
function networkOf(file: string): string | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return isObject(value) && typeof value['network'] === 'string' ? value['network'] : undefined;
  } catch {
    return undefined;
  }
}

/** GC: removes the network's files of attachments that do not count any more. */
export function sweepBackups(dataDir: string, network: string, valid: readonly ValidAttachment[]): void {
  const keep = new Set(valid.map(fileName));
  let names: string[];
  try {
    names = readdirSync(dataDir);
  } catch {
    return; // nothing was ever kept
  }
  for (const name of names.filter((n) => n.endsWith('.json') && !keep.has(n))) {
    if (networkOf(join(dataDir, name)) === network) rmSync(join(dataDir, name), { force: true });
  }
}

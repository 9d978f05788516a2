/** Folders for the disks and sockets of machines that run now. One that a killed process left is removed by whoever comes next. */

import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const prefix = 'culvert-vm-';

/** A new folder that is ours as long as this process lives. */
export function scratchDir(): string {
  for (const name of readdirSync(tmpdir()).filter((n) => n.startsWith(prefix))) {
    const pid = name.slice(prefix.length).split('-')[0]!;
    if (!existsSync(join('/proc', pid))) rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
  return mkdtempSync(join(tmpdir(), `${prefix}${process.pid}-`));
}

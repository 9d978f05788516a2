/** A folder → an ext4 image; without root and without mounting anything. */

import { execa } from 'execa';

/** The image has room for what is in the folder and little more: it is mounted read-only. */
export async function makeImage(folder: string, file: string): Promise<void> {
  const usage = (await execa('du', ['-sk', '--apparent-size', folder])).stdout;
  const inodes = (await execa('du', ['-s', '--inodes', folder])).stdout;
  const kib = Math.ceil(Number.parseInt(usage, 10) * 1.1) + 4 * Number.parseInt(inodes, 10) + 8192;
  const size = ['-N', String(Math.ceil(Number.parseInt(inodes, 10) * 1.1) + 256)];
  const options = ['-q', '-t', 'ext4', '-O', '^has_journal', '-m', '0', '-E', 'root_owner=0:0', ...size];
  await execa('mke2fs', [...options, '-d', folder, file, `${kib}k`]);
}

/** A writable disk, empty or with what is in a folder; it takes room only for what is written. */
export async function makeDisk(file: string, folder?: string): Promise<void> {
  const from = folder ? ['-d', folder] : [];
  await execa('mke2fs', ['-q', '-t', 'ext4', '-E', 'root_owner=0:0', ...from, file, '1G']);
}

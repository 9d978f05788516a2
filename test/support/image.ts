/** A container image made on the spot, nothing pulled: busybox (package busybox-static) in a docker-archive. */

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from './netns.ts';

export const image = 'local.test/box:1';

const sha256 = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

/** A file system with busybox under each of its names. */
function makeRoot(root: string): void {
  for (const dir of ['bin', 'etc', 'tmp', 'proc', 'sys', 'dev']) mkdirSync(join(root, dir), { recursive: true });
  copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
  const { stdout } = spawnSync('/bin/busybox', ['--list'], { encoding: 'utf8' });
  for (const name of stdout.split('\n').filter((n) => n !== '' && n !== 'busybox')) {
    symlinkSync('busybox', join(root, 'bin', name));
  }
}

const configOf = (layer: string, architecture: string): object => ({
  architecture,
  os: 'linux',
  // sleep is deaf to SIGTERM as a first process
  config: { Cmd: ['/bin/sleep', '1d'], Env: ['PATH=/bin'], StopSignal: 'SIGKILL' },
  rootfs: { type: 'layers', diff_ids: [`sha256:${layer}`] },
});

/** Writes the archive. */
export function makeImage(file: string): void {
  const work = mkdtempSync(join(tmpdir(), 'culvert-image-'));
  try {
    const layer = join(work, 'layer.tar');
    makeRoot(join(work, 'root'));
    run(['tar', '--owner=0', '--group=0', '-cf', layer, '-C', join(work, 'root'), '.']);
    const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
    writeFileSync(join(work, 'config.json'), JSON.stringify(configOf(sha256(layer), architecture)));
    const config = `${sha256(join(work, 'config.json'))}.json`;
    renameSync(join(work, 'config.json'), join(work, config));
    writeFileSync(
      join(work, 'manifest.json'),
      JSON.stringify([{ Config: config, RepoTags: [image], Layers: ['layer.tar'] }]),
    );
    run(['tar', '-cf', file, '-C', work, config, 'layer.tar', 'manifest.json']);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

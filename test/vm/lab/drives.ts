/** The drives that carry the product and its tests into a machine, so that a new build needs no new root image. */

import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { execa } from 'execa';
import { cacheDir, cached, digest } from './cache.ts';
import { makeImage } from './image.ts';

export const checkout = join(import.meta.dirname, '../../..');

/** What tests and benchmarks read of the checkout, the built executable first of all. */
const parts = [
  'dist/bin',
  'src',
  'plugins',
  'scripts',
  'test',
  'conf',
  'vagrant',
  'docs',
  'package.json',
  'tsconfig.json',
];

/** Tools of development that no test loads, and a third of node_modules. */
const unwantedModules =
  /^(@biomejs|typescript|dependency-cruiser|esbuild|@esbuild|node-linux-[^/]*\/(include|share))(\/|$)/;

/** node_modules with Node itself, for tests that run inside; made once per lock file. */
export async function modulesDrive(): Promise<string> {
  const source = realpathSync(join(checkout, 'node_modules'));
  const dir = await cached('modules', digest(readFileSync(join(checkout, 'package-lock.json'), 'utf8')), async (at) => {
    const tree = join(at, 'tree');
    cpSync(source, join(tree, 'node_modules'), {
      recursive: true,
      verbatimSymlinks: true,
      filter: (path) => !unwantedModules.test(relative(source, path)),
    });
    await makeImage(tree, join(at, 'modules.ext4'));
    rmSync(tree, { recursive: true });
  });
  return join(dir, 'modules.ext4');
}

/** A few programs of Kubernetes, out of the folder that `test/kube/build-kubernetes` names; one image per build of them. */
export async function kubernetesDrive(programs: readonly string[]): Promise<string> {
  const folder = (await execa(join(checkout, 'test/kube/build-kubernetes'))).stdout;
  const key = digest(...programs.map((name) => `${join(folder, name)} ${statSync(join(folder, name)).mtimeMs}`));
  const dir = await cached('kubernetes', key, async (at) => {
    const tree = join(at, 'tree');
    for (const name of programs) cpSync(join(folder, name), join(tree, name));
    await makeImage(tree, join(at, 'kubernetes.ext4'));
    rmSync(tree, { recursive: true });
  });
  return join(dir, 'kubernetes.ext4');
}

const newestOf = (path: string): number =>
  Math.max(
    statSync(path).mtimeMs,
    ...(statSync(path).isDirectory()
      ? readdirSync(path, { recursive: true, encoding: 'utf8' }).map(
          (name) => statSync(join(path, name), { throwIfNoEntry: false })?.mtimeMs ?? 0,
        )
      : []),
  );

/** The checkout as it is now; made anew when a file of it is newer than the image. */
export async function projectDrive(): Promise<string> {
  const file = join(cacheDir(), `project-${digest(checkout)}.ext4`);
  if (!existsSync(join(checkout, 'dist/bin/culvert')))
    throw new Error('dist/bin/culvert: got nothing, want the built executable: npm run build');
  const newest = Math.max(...parts.map((part) => newestOf(join(checkout, part))));
  if ((statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0) > newest) return file;
  mkdirSync(cacheDir(), { recursive: true });
  const tree = `${file}.${process.pid}`;
  try {
    for (const part of parts)
      cpSync(join(checkout, part), join(tree, part), { recursive: true, verbatimSymlinks: true });
    symlinkSync('/modules/node_modules', join(tree, 'node_modules')); // where the other drive is
    await makeImage(tree, `${tree}.next`);
    renameSync(`${tree}.next`, file); // machines that run keep the one they opened
  } finally {
    for (const path of [tree, `${tree}.next`]) rmSync(path, { recursive: true, force: true });
  }
  return file;
}

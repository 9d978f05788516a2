/**
 * dist/culvert-image.tar: the container image, an OCI archive, made from this machine and nothing pulled: the executable, the
 * programs that the agent runs with the libraries they load, as Debian's packages installed them, and those packages' copyright files.
 * No package manager. The same inputs give the same bytes.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { programFile } from '../src/kernel/exec.ts';

/** What the agent runs (`sh` starts programs for it), and `tc` and `birdc` for whoever looks why. Plugins run on the node, with the node's programs. */
const programs = [
  ...['ip', 'bridge', 'tc', 'nft', 'wg', 'ethtool', 'ping', 'arping'],
  ...['bird', 'birdc', 'nsenter', 'setpriv', 'unshare', 'sh'],
];
/** Names of numbers; of each what this distribution has. */
const data = ['/etc/iproute2', '/usr/share/iproute2', '/etc/protocols'];

const root = join(import.meta.dirname, '..');
/** By itself: no runtime executes what is in the image. */
const executable = join(root, 'dist/bin/culvert-node');
const archive = join(root, 'dist/culvert-image.tar');
const { version, license } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<string, string>;
const image = `localhost/culvert:${version}`;

const run = (program: string, ...args: string[]): string => execFileSync(program, args, { encoding: 'utf8' });
const sha256 = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');
const megabytes = (bytes: number): string => `${(bytes / 1_000_000).toFixed(1)} MB`;

/** The place of a file below the folders' real names: /lib is /usr/lib. */
const placeOf = (file: string): string => join(realpathSync(dirname(file)), basename(file));

/** The libraries that a program loads, its loader among them. */
const librariesOf = (program: string): string[] =>
  [...run('ldd', program).matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)].map(([, file = '']) => file);

function copyInto(folder: string, file: string, place = placeOf(file)): void {
  const target = join(folder, place);
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(file, target);
}

/** Packages that files came from, with their versions: "iproute2 6.1.0-3". */
function packagesOf(files: readonly string[]): string[] {
  // dpkg knows a file by the path that its package gave
  const paths = files.flatMap((f) => [f, realpathSync(f)]).flatMap((f) => [f, f.replace(/^\/usr/, '')]);
  const { stdout } = spawnSync('dpkg-query', ['--search', ...new Set(paths)], { encoding: 'utf8' });
  const names = new Set(stdout.split('\n').flatMap((line) => /^([^\s,:]+)(?::\w+)?: \//.exec(line)?.[1] ?? []));
  return [...names].sort().map((name) => run('dpkg-query', '--show', '--showformat=${Package} ${Version}', name));
}

function addTools(folder: string): string[] {
  const files = programs.map(programFile);
  const missing = programs.filter((_, i) => !existsSync(files[i]!));
  if (missing.length > 0) throw new Error(`not on this machine: ${missing.join(', ')}; scripts/setup installs them`);
  const all = [...new Set([...files, ...[executable, ...files].flatMap(librariesOf)].map(placeOf))];
  for (const file of all) copyInto(folder, file, file);
  for (const path of data.filter((p) => existsSync(p))) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    cpSync(path, join(folder, path), { recursive: true });
  }
  for (const dir of ['bin', 'sbin', 'lib', 'lib64']) {
    if (existsSync(join(folder, 'usr', dir))) symlinkSync(join('usr', dir), join(folder, dir));
  }
  writeFileSync(join(folder, 'etc/passwd'), 'root:x:0:0:root:/:/usr/sbin/nologin\n');
  const packages = packagesOf(all);
  for (const name of packages.map((p) => p.split(' ')[0]!)) {
    const copyright = `/usr/share/doc/${name}/copyright`;
    if (existsSync(copyright)) copyInto(folder, realpathSync(copyright), copyright);
  }
  mkdirSync(join(folder, 'usr/share/doc/culvert'), { recursive: true });
  writeFileSync(join(folder, 'usr/share/doc/culvert/packages'), `${packages.join('\n')}\n`);
  return packages;
}

function addCulvert(folder: string): void {
  copyInto(folder, executable, 'usr/bin/culvert');
  copyInto(folder, join(root, 'LICENSE'), 'usr/share/doc/culvert/LICENSE');
  const node = dirname(dirname(realpathSync(process.execPath)));
  for (const file of ['LICENSE'].map((name) => join(node, name)).filter((f) => existsSync(f))) {
    copyInto(folder, file, 'usr/share/doc/culvert/LICENSE.node');
  }
}

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
}

/** Moves a file among the blobs. */
function addBlob(blobs: string, file: string, mediaType: string): Descriptor {
  const digest = sha256(file);
  const { size } = statSync(file);
  renameSync(file, join(blobs, digest));
  return { mediaType: `application/vnd.oci.image.${mediaType}`, digest: `sha256:${digest}`, size };
}

/** A folder as a layer: its blob, the digest of what it unpacks to, and that one's size. */
function addLayer(blobs: string, folder: string) {
  const tar = `${folder}.tar`;
  const same = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--mode=u+rwX,go=rX'];
  run('tar', ...same, '--format=gnu', '-cf', tar, '-C', folder, '.');
  const [diffId, size] = [`sha256:${sha256(tar)}`, statSync(tar).size];
  run('gzip', '-n', tar);
  return { diffId, size, blob: addBlob(blobs, `${tar}.gz`, 'layer.v1.tar+gzip') };
}

function addJson(blobs: string, mediaType: string, value: object): Descriptor {
  const file = join(blobs, 'next');
  writeFileSync(file, JSON.stringify(value));
  return addBlob(blobs, file, mediaType);
}

const work = mkdtempSync(join(tmpdir(), 'culvert-image-'));
try {
  const layout = join(work, 'layout');
  const blobs = join(layout, 'blobs/sha256');
  mkdirSync(blobs, { recursive: true });
  // what changes seldom comes first
  const packages = addTools(join(work, 'tools'));
  addCulvert(join(work, 'culvert'));
  const layers = ['tools', 'culvert'].map((name) => addLayer(blobs, join(work, name)));
  const platform = { architecture: process.arch === 'x64' ? 'amd64' : process.arch, os: 'linux' };
  const labels = { title: 'culvert', version, licenses: license };
  const config = addJson(blobs, 'config.v1+json', {
    ...platform,
    created: '1970-01-01T00:00:00Z',
    config: {
      Env: ['PATH=/usr/sbin:/usr/bin'],
      Entrypoint: ['/usr/bin/culvert'],
      Cmd: ['agent'],
      WorkingDir: '/',
      Labels: Object.fromEntries(Object.entries(labels).map(([k, v]) => [`org.opencontainers.image.${k}`, v])),
    },
    rootfs: { type: 'layers', diff_ids: layers.map((l) => l.diffId) },
  });
  const manifest = addJson(blobs, 'manifest.v1+json', {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config,
    layers: layers.map((l) => l.blob),
  });
  const names = { 'io.containerd.image.name': image, 'org.opencontainers.image.ref.name': version };
  writeFileSync(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  writeFileSync(
    join(layout, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest, platform, annotations: names }] }),
  );
  run('tar', '--sort=name', '--mtime=@0', '--owner=0', '--group=0', '-cf', `${archive}.next`, '-C', layout, '.');
  renameSync(`${archive}.next`, archive);
  const [tools, culvert] = layers.map((l) => `${megabytes(l.size)} (${megabytes(l.blob.size)} packed)`);
  console.log(`dist/culvert-image.tar: ${image}, ${megabytes(statSync(archive).size)}`);
  console.log(`culvert ${culvert}; ${programs.join(' ')} with libraries of ${packages.length} packages ${tools}`);
} finally {
  rmSync(work, { recursive: true, force: true });
}

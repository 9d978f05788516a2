/**
 * What every machine of the VM lab boots: Debian's cloud kernel, an initramfs that finds the drives, and one read-only root
 * image for all of them, made of packages as apt has them today.
 */

import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { execa } from 'execa';
import { cached, digest } from './cache.ts';
import { makeImage } from './image.ts';
import { closureOf, unpack } from './packages.ts';

const packages = [
  ...['linux-image-cloud-amd64', 'kmod', 'busybox-static'],
  ...[
    'dash',
    'bash',
    'coreutils',
    'findutils',
    'grep',
    'sed',
    'procps',
    'util-linux',
    'mount',
    'netbase',
    'libstdc++6',
    'libatomic1',
  ],
  ...[
    'iproute2',
    'nftables',
    'conntrack',
    'iptables',
    'ipset',
    'wireguard-tools',
    'bird2',
    'ethtool',
    'iputils-ping',
    'iputils-arping',
    'ethtool',
  ],
  ...['tcpdump', 'iperf3', 'curl', 'strace', 'containernetworking-plugins'],
  ...['containerd', 'runc'],
];

/** Needed before the root image can be mounted; the kernel fetches everything else from there when it is first used. */
const bootModules = ['virtio_pci', 'virtio_console', 'virtio_blk', 'virtio_net', 'virtio_rng', 'overlay'];

/** Of no use to tests, and a third of what is unpacked. */
const unwanted = [
  'usr/share/doc',
  'usr/share/man',
  'usr/share/locale',
  'usr/share/perl',
  'usr/lib/x86_64-linux-gnu/perl',
];

/** What the packages' own installation scripts would have made. */
const alternatives: Record<string, string> = {
  iptables: 'xtables-nft-multi',
  'iptables-save': 'xtables-nft-multi',
  'iptables-restore': 'xtables-nft-multi',
  ip6tables: 'xtables-nft-multi',
  'ip6tables-save': 'xtables-nft-multi',
  'ip6tables-restore': 'xtables-nft-multi',
};

const guestDir = join(import.meta.dirname, 'guest');

export interface Base {
  kernel: string;
  initramfs: string;
  root: string;
}

/** The modules and what they depend on, by modules.dep, as paths below the modules' folder. */
function closureOfModules(modulesDep: string, names: readonly string[]): string[] {
  const depends = new Map(
    modulesDep
      .trimEnd()
      .split('\n')
      .map((line) => {
        const [path, rest = ''] = line.split(':') as [string, string?];
        return [path, rest.split(' ').filter((p) => p !== '')];
      }),
  );
  const byName = new Map(
    [...depends.keys()].map((path) => [
      basename(path)
        .replace(/\.ko.*$/, '')
        .replaceAll('-', '_'),
      path,
    ]),
  );
  // one that is not there is built into the kernel
  const paths = names.flatMap((name) => byName.get(name) ?? []);
  return [...new Set(paths.flatMap((path) => [path, ...depends.get(path)!]))];
}

async function makeInitramfs(tree: string, version: string, dir: string): Promise<void> {
  const modules = join('lib/modules', version);
  for (const name of ['bin', 'dev', 'proc', 'sys', 'low', 'rw', 'new', modules])
    mkdirSync(join(dir, name), { recursive: true });
  cpSync(join(tree, 'bin/busybox'), join(dir, 'bin/busybox'));
  cpSync(join(guestDir, 'init'), join(dir, 'init'));
  cpSync(join(guestDir, 'agent'), join(dir, 'agent'));
  const modulesDep = readFileSync(join(tree, modules, 'modules.dep'), 'utf8');
  for (const path of closureOfModules(modulesDep, bootModules)) {
    mkdirSync(join(dir, modules, dirname(path)), { recursive: true });
    cpSync(join(tree, modules, path), join(dir, modules, path));
  }
  writeFileSync(join(dir, modules, 'modules.dep'), modulesDep);
  const files = (await execa('find', ['.'], { cwd: dir })).stdout;
  const argv = ['--create', '--format=newc', '--owner=0:0', '--quiet', `--file=${dir}.cpio`];
  await execa('cpio', argv, { cwd: dir, input: `${files}\n` });
}

async function make(dir: string, closure: readonly string[]): Promise<void> {
  const tree = join(dir, 'tree');
  await unpack(packages, closure, tree);
  const version = readdirSync(join(tree, 'lib/modules'))[0]!;
  await execa('depmod', ['--basedir', tree, version]);
  await makeInitramfs(tree, version, join(dir, 'initramfs'));
  rmSync(join(dir, 'initramfs'), { recursive: true });
  renameSync(join(tree, 'boot', `vmlinuz-${version}`), join(dir, 'vmlinuz'));
  for (const path of [...unwanted, 'boot']) rmSync(join(tree, path), { recursive: true, force: true });
  for (const [name, target] of Object.entries(alternatives)) symlinkSync(target, join(tree, 'usr/sbin', name));
  for (const name of [
    'dev',
    'proc',
    'sys',
    'run',
    'tmp',
    'project',
    'modules',
    'kubernetes',
    'images',
    'var/lib/containerd',
  ])
    mkdirSync(join(tree, name), { recursive: true });
  rmSync(join(tree, 'var/run'), { recursive: true, force: true });
  symlinkSync('/run', join(tree, 'var/run')); // else what containerd has there would outlive a boot
  // a first process that takes in the orphans of all others
  writeFileSync(join(tree, 'etc/inittab'), '::once:/bin/dash /run/control/agent\n');
  writeFileSync(join(tree, 'etc/hosts'), '127.0.0.1 localhost\n::1 localhost\n');
  writeFileSync(join(tree, 'etc/resolv.conf'), ''); // no kubelet starts a pod without
  writeFileSync(
    join(tree, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n',
  );
  writeFileSync(join(tree, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n');
  await makeImage(tree, join(dir, 'root.ext4'));
  rmSync(tree, { recursive: true });
}

/** Made once per set of versions: half a minute with the downloads, nothing from then on. */
export async function ensureBase(): Promise<Base> {
  const closure = await closureOf(packages);
  const scripts = ['init', 'agent'].map((name) => readFileSync(join(guestDir, name), 'utf8'));
  const own = readFileSync(import.meta.filename, 'utf8');
  const dir = await cached('base', digest(...closure, ...scripts, own), (at) => make(at, closure));
  return { kernel: join(dir, 'vmlinuz'), initramfs: join(dir, 'initramfs.cpio'), root: join(dir, 'root.ext4') };
}

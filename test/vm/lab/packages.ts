/** Debian packages as apt finds them for a machine with nothing on it: names and versions, and a tree of their files. No root. */

import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { cacheDir, cached, digest } from './cache.ts';

/** Neither the host's packages nor its locks matter. */
const bare = ['-o', 'Dir::State::status=/dev/null', '-o', 'Debug::NoLocking=1', '--no-install-recommends', '-qq', '-y'];

const aptGet = async (args: readonly string[]): Promise<string> =>
  (await execa('apt-get', [...bare, ...args], { env: { LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' } })).stdout;

/** What the archive files of packages begin with: "nftables_1.0.6-2+deb12u2". */
async function ask(names: readonly string[]): Promise<string[]> {
  const text = await aptGet(['--simulate', 'install', ...names]);
  return [...text.matchAll(/^Inst (\S+) \((\S+) /gm)].map(([, name, version]) => `${name}_${version}`);
}

/** The named packages and all they depend on, as this machine's sources have them; asked again when apt's lists change. */
export async function closureOf(names: readonly string[]): Promise<string[]> {
  const lists = String(statSync('/var/lib/apt/lists').mtimeMs);
  const dir = await cached('packages', digest(...names, lists), async (at) =>
    writeFileSync(join(at, 'closure.json'), JSON.stringify(await ask(names))),
  );
  return JSON.parse(readFileSync(join(dir, 'closure.json'), 'utf8')) as string[];
}

/** Fetches the packages that are not in the cache yet and unpacks all into a folder; none of their scripts is run. */
export async function unpack(names: readonly string[], closure: readonly string[], dir: string): Promise<void> {
  const archives = join(cacheDir(), 'archives');
  mkdirSync(join(archives, 'partial'), { recursive: true });
  const options = ['-o', `Dir::Cache::archives=${archives}`, '-o', 'APT::Sandbox::User=root'];
  await aptGet([...options, '--download-only', 'install', ...names]);
  for (const top of ['bin', 'sbin', 'lib', 'lib64']) {
    mkdirSync(join(dir, 'usr', top), { recursive: true });
    symlinkSync(join('usr', top), join(dir, top)); // packages have files in both, and one place for them
  }
  const files = readdirSync(archives);
  for (const stem of closure) {
    const file = files.find((f) => f.startsWith(`${stem.replaceAll(':', '%3a')}_`));
    if (!file) throw new Error(`apt-get fetched no archive of ${stem} into ${archives}: run apt-get update`);
    await execa('dpkg-deb', ['--extract', join(archives, file), dir]);
  }
}

/**
 * dist/bin/culvert-node: three bundles in one Node single executable. `main.cjs` (every plugin) becomes the start-up snapshot,
 * `cli.cjs` (agent, lab and tools with their libraries) an asset, and `kubernetes.cjs` (the Kubernetes client library: for agents
 * with that source alone) another. Before it dist/bin/culvert, what is executed: src/serve/shim.c, which the Node executable has as
 * an asset too, to install it. Then one link per plugin.
 */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { plugins } from '../plugins/plugins.ts';
import { formatMark } from '../src/agent/install/mark.ts';
import { mainName, nodeName } from '../src/kernel/own.ts';
import { buildExecutable, withoutCodeCache } from './sea.ts';

const root = join(import.meta.dirname, '..');
const out = join(root, 'dist');
const bin = join(out, 'bin');
const version = (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version;

mkdirSync(bin, { recursive: true });

const common = {
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node26',
  // a snapshot of code that has run a native `await using` crashes Node 26's snapshot builder
  supported: { using: false },
  minifyWhitespace: true,
  minifySyntax: true,
  define: { CULVERT_VERSION: JSON.stringify(version) },
  logLevel: 'warning',
} as const;

await build({
  ...common,
  entryPoints: [join(root, 'src/main.ts')],
  outfile: join(out, 'main.cjs'),
  external: ['./cli/cli.ts'],
});
await build({
  ...common,
  entryPoints: [join(root, 'src/cli/cli.ts')],
  outfile: join(out, 'cli.cjs'),
  external: ['./library.ts'],
  // `require` is what src/main.ts gives the bundle, and knows the other one
  supported: { ...common.supported, 'dynamic-import': false },
});
await build({
  ...common,
  entryPoints: [join(root, 'src/cluster/kubernetes/library.ts')],
  outfile: join(out, 'kubernetes.cjs'),
});

// Re-hashing every string of the snapshot with a seed of its own costs a process an eighth of its start; it guards tables
// against keys chosen by an attacker, and whoever writes a node's CNI configuration is root there already. And a signal
// must not open a debugger into a process of root's.
const execArgv = ['--no-rehash-snapshot', '--disable-sigusr1'];

/** Runs this Node in dist. */
function node(...args: readonly string[]): void {
  // the snapshot builder warns that child_process is "not fully verified" in snapshots; every test runs on the result
  execFileSync(process.execPath, ['--no-warnings', ...args], { cwd: out, stdio: ['ignore', 'ignore', 'inherit'] });
}

// Of what V8 has compiled, the snapshot keeps what has run in the rehearsal, once is enough, and lets the rest of Node's own modules
// go: compiling while a pod waits takes longer than reading it, reading what nobody calls is for nothing.
const keepWhatRan = ['--invocation-count-for-feedback-allocation=0', '--bytecode-old-age=0'];
node(...execArgv, ...keepWhatRan, '--snapshot-blob', 'main.blob', '--build-snapshot', 'main.cjs');
const snapshot = join(out, 'main.blob');
writeFileSync(snapshot, withoutCodeCache(readFileSync(snapshot)));
const bundles = ['cli.cjs', 'kubernetes.cjs'];
node(...execArgv, '--snapshot-blob', 'main.blob', ...bundles); // writes their code caches

const shim = join(root, 'src/serve/shim.c');
const sources = [...['main.cjs', ...bundles].map((bundle) => join(out, bundle)), shim];
const hash = createHash('sha256').update(process.version);
for (const file of sources) hash.update(readFileSync(file));
const mark = { version, build: hash.digest('hex').slice(0, 16) };

// static: it starts in half the time, and in any image
const flags = ['-std=gnu11', '-Os', '-s', '-static', '-Wall', '-Wextra', '-Werror'];
const mainNext = join(out, `${mainName}.next`);
execFileSync('cc', [...flags, `-DCULVERT_BUILD="${mark.build}"`, shim, '-o', mainNext], { stdio: 'inherit' });
appendFileSync(mainNext, formatMark(mark));

const nodeNext = join(out, `${nodeName}.next`);
buildExecutable(out, {
  main: 'main.blob',
  isSnapshot: true,
  output: `${nodeName}.next`,
  execArgv,
  assets: {
    ...Object.fromEntries(bundles.flatMap((b) => [b, `${b}.cache`]).map((file) => [file, file])),
    [mainName]: `${mainName}.next`,
  },
});
appendFileSync(nodeNext, formatMark(mark));

// by rename: a runtime may be executing the old one
renameSync(nodeNext, join(bin, nodeName));
renameSync(mainNext, join(bin, mainName));
const links = [...plugins.keys()].filter((name) => name !== mainName);
for (const name of links) {
  const link = join(bin, name);
  rmSync(link, { force: true });
  symlinkSync(mainName, link);
}
console.log(`dist/bin/culvert ${version}, links: ${links.join(' ')}`);

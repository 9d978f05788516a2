/**
 * `npm run bench`: our plugins beside the reference plugins, in turn, on the real kernel. It runs in a network namespace and a mount
 * namespace of its own (named namespaces live on a private /run): the kernel takes both away with the process, however it ends.
 */

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { attach, served } from './bench/attach.ts';
import { cluster } from './bench/cluster.ts';
import { conditionsOf, renderConditions } from './bench/conditions.ts';
import { cost } from './bench/cost.ts';
import { crowd } from './bench/crowd.ts';
import { leases } from './bench/leases.ts';
import { render } from './bench/report.ts';
import type { Bench, Section } from './bench/section.ts';
import { start } from './bench/start.ts';
import { endRunning, Pods, run, type Suite } from './bench/suite.ts';
import { throughput } from './bench/throughput.ts';

const sections: readonly Section[] = [start, attach, served, crowd, leases, cluster, throughput, cost];
const inside = 'CULVERT_BENCH_INSIDE';
const debianDir = '/usr/lib/cni';

const help = `usage: npm run bench -- [--quick] [--only NAME ...] [--reference [LABEL=]DIR ...] [--cnitool FILE]
                           [--nodes COUNT] [--json FILE]

  --quick      few rounds and small sizes, under a minute: shows that everything still runs, not how fast
  --only       one of ${sections.map((s) => s.name).join(', ')}; may be repeated
  --reference  a folder of reference plugins (default ${debianDir}); may be repeated, targets speak of the first
  --cnitool    has this cnitool execute the chains of attach and served (test/clients/build-cnitool builds one)
  --nodes      of the clusters, those with so many nodes alone: 100, 1000 or 5000
  --json       writes conditions and all figures to a file

Needs root and a built dist/bin (npm run build). Touches nothing outside namespaces of its own and a temporary folder.
`;

function readOptions() {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      reference: { type: 'string', multiple: true, default: [debianDir] },
      cnitool: { type: 'string' },
      nodes: { type: 'string' },
      json: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const unknown = values.only.find((name) => !sections.some((s) => s.name === name));
  if (unknown) throw new Error(`--only "${unknown}": known are ${sections.map((s) => s.name).join(', ')}`);
  return values;
}

function suitesOf(references: readonly string[]): Suite[] {
  const found = references.map((text): Suite => {
    const [, label, dir] = /^(?:([^=/]+)=)?(.+)$/.exec(text)!;
    return { label: label ?? 'reference', dir: resolve(dir!) };
  });
  const there = found.filter(({ dir }) => existsSync(join(dir, 'bridge')));
  for (const { dir } of found.filter((s) => !there.includes(s))) {
    process.stderr.write(`bench: no reference plugins in ${dir} (Debian: containernetworking-plugins): not compared\n`);
  }
  return [{ label: 'culvert', dir: join(import.meta.dirname, '../dist/bin') }, ...there];
}

/** Becomes the same program in fresh namespaces. Does not return. */
function enter(): never {
  const argv = ['env', 'unshare', '--net', '--mount', process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  process.execve!('/usr/bin/env', argv, { ...process.env, [inside]: '1' });
  throw new Error('/usr/bin/env cannot be executed');
}

async function measure(bench: Bench, chosen: readonly Section[]) {
  const conditions = conditionsOf(bench);
  process.stdout.write(`${renderConditions(conditions)}\n`);
  const results = [];
  for (const { name, title, run: runSection } of chosen) {
    const load = loadavg()[0]!.toFixed(2);
    const rows = await runSection(bench);
    process.stdout.write(`${render(title, rows)}(load average when this began: ${load})\n\n`);
    results.push({ name, title, load: Number(load), rows });
  }
  return { conditions, sections: results };
}

async function main(): Promise<void> {
  const options = readOptions();
  if (options.help) return void process.stdout.write(help);
  if (process.getuid!() !== 0) throw new Error('needs root: it makes network namespaces and runs plugins in them');
  if (process.env[inside] === undefined) enter();
  const suites = suitesOf(options.reference);
  const culvert = suites[0]!;
  if (!existsSync(join(culvert.dir, 'culvert'))) throw new Error('dist/bin/culvert is not there: npm run build');

  run('mount -t tmpfs tmpfs /run');
  if (options.cnitool) {
    // libcni keeps results there
    mkdirSync('/var/lib/cni', { recursive: true });
    run('mount -t tmpfs tmpfs /var/lib/cni');
  }
  run('ip link set lo up');
  const dir = mkdtempSync(join(tmpdir(), 'culvert-bench-'));
  process.on('exit', () => {
    endRunning();
    rmSync(dir, { recursive: true, force: true });
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130));
  const rounds = options.quick ? { warmUp: 1, rounds: 3 } : { warmUp: 3, rounds: 40 };
  const { quick, cnitool } = options;
  const nodes = options.nodes === undefined ? undefined : Number(options.nodes);
  const pods = new Pods();
  const bench = { culvert, suites, reference: suites[1], dir, pods, cnitool, nodes, quick, rounds };
  const chosen = sections.filter((s) => options.only.length === 0 || options.only.includes(s.name));
  const result = await measure(bench, chosen);
  if (options.json) writeFileSync(options.json, `${JSON.stringify(result, null, 2)}\n`);
}

main().catch((error: Error) => {
  process.stderr.write(`bench: ${error.message}\n`);
  process.exit(1);
});

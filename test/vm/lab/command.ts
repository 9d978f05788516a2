/** scripts/vm-lab: machines with Debian's own kernel for tests and for people. */

import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { UsageError } from '../../../src/command.ts';
import { parseSettings } from '../../../src/lab/command.ts';
import { readTopologyFile } from '../../../src/lab/open.ts';
import { ensureBase } from './base.ts';
import { checkout, modulesDrive, projectDrive } from './drives.ts';
import { byLayer, type InsideRun, lackingKernel, runCommandInside, runInside } from './inside.ts';
import { VmLab } from './lab.ts';
import { endLab, execOn, isUp, serve } from './serve.ts';

const help = `usage: scripts/vm-lab test FILE ...
       scripts/vm-lab test --not-run TALLY
       scripts/vm-lab run -- COMMAND [ARGUMENT ...]
       scripts/vm-lab up [TOPOLOGY] [--set KEY=VALUE ...]
       scripts/vm-lab exec NODE -- COMMAND [ARGUMENT ...]
       scripts/vm-lab down
       scripts/vm-lab build

Machines under qemu with Debian's own kernel: what the kernel of this machine may lack (dummy, vlan, vrf, ipvlan, ipip,
WireGuard, VLAN filtering of bridges, flow tables) is there. Images are made of Debian's packages and kept in
~/.cache/culvert/vm. Needs root but for build; nothing stays when it ends, however it ends.

  test   runs test files of any layer in a machine: test/conformance/bridge-vlan.test.ts. With --not-run the cases that
         a run of other layers with CULVERT_TALLY=TALLY could not run for want of something in the kernel.
  run    runs a command of this checkout in a machine: scripts/vm-lab run -- node scripts/bench.ts --only throughput
  up     boots a machine for every node of a topology (default: conf/lab/three-nodes.yaml), starts the agents and
         attaches the pods; stays until "down", Ctrl-C or its own end.
  exec   runs a command on a node of the lab that is up: scripts/vm-lab exec node1 -- ip route
  down   ends the lab that is up.
  build  makes the images and no more.`;

const options = { 'not-run': { type: 'string' } } as const;
const upOptions = { set: { type: 'string', multiple: true, default: [] as string[] } } as const;

async function test(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true });
  const tally = values['not-run'];
  if ((tally === undefined) === (positionals.length === 0))
    throw new UsageError('test: want FILE ... or --not-run TALLY');
  for (const file of positionals) {
    if (!existsSync(file)) throw new UsageError(`test: got "${file}", want a file that is there`);
  }
  const runs: InsideRun[] =
    tally === undefined
      ? byLayer(positionals)
      : lackingKernel(readFileSync(tally, 'utf8'), process.env['REQUIRE_ALL'] === '1');
  let status = 0;
  for (const run of runs) {
    const { exitCode, output, tally: lines } = await runInside(run);
    process.stdout.write(output);
    if (process.env['CULVERT_TALLY']) appendFileSync(process.env['CULVERT_TALLY'], lines);
    if (exitCode !== 0) status = 1;
  }
  return status;
}

/** What a command printed and how it ended. */
function print({ exitCode, stdout, stderr }: { exitCode: number; stdout: string; stderr: string }): number {
  process.stdout.write(stdout);
  process.stderr.write(stderr);
  return exitCode;
}

async function run([dashes, ...argv]: string[]): Promise<number> {
  if (dashes !== '--' || argv.length === 0) throw new UsageError('run: want -- COMMAND');
  return print(await runCommandInside(argv));
}

async function up(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({ args, options: upOptions, allowPositionals: true });
  const [file = join(checkout, 'conf/lab/three-nodes.yaml'), ...extra] = positionals;
  if (extra.length > 0) throw new UsageError(`up: got "${extra[0]}", want one topology`);
  const agent = parseSettings(values.set);
  if (await isUp()) throw new UsageError('up: a lab is up: scripts/vm-lab down');
  const document = readTopologyFile(file);
  console.log('booting');
  const lab = await VmLab.up(document);
  try {
    await lab.configure({ agent });
    for (const node of lab.nodes) {
      for (const name of node.spec.pods) {
        const pod = await node.addPod(name);
        console.log(`${node.name}: ${name} ${Object.values(pod.addresses).join(' ')}`);
      }
    }
    console.log('up: scripts/vm-lab exec node1 -- ip route; Ctrl-C or scripts/vm-lab down ends it');
    await serve(lab);
  } finally {
    await lab.down();
  }
  return 0;
}

const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

async function exec(args: string[]): Promise<number> {
  const [node, dashes, ...argv] = args;
  if (!node || dashes !== '--' || argv.length === 0) throw new UsageError('exec: want NODE -- COMMAND');
  return print(await execOn(node, argv.map(quoted).join(' ')));
}

async function down(): Promise<number> {
  console.log((await endLab()) ? 'the lab is gone' : 'no lab is up: nothing to end');
  return 0;
}

async function build(): Promise<number> {
  await ensureBase();
  await modulesDrive();
  await projectDrive();
  return 0;
}

const verbs: Record<string, (args: string[]) => Promise<number>> = { test, run, up, exec, down, build };

async function main([name, ...args]: string[]): Promise<number> {
  const own = args.slice(0, args.includes('--') ? args.indexOf('--') : args.length);
  if (name === undefined || [name, ...own].includes('--help')) {
    console.log(help);
    return name === undefined ? 2 : 0;
  }
  try {
    const verb = verbs[name];
    if (!verb) throw new UsageError(`got "${name}", want one of ${Object.keys(verbs).join(', ')}`);
    return await verb(args);
  } catch (error) {
    const isUsage = error instanceof UsageError || (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS');
    console.error(`vm-lab: ${(error as Error).message}`);
    return isUsage ? 2 : 3;
  }
}

process.exitCode = await main(process.argv.slice(2));

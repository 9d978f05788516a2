/** scripts/vm-lab: machines with Debian's own kernel for tests and for people. */

import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { UsageError } from '../../../src/command.ts';
import { ensureBase } from './base.ts';
import { modulesDrive, projectDrive } from './drives.ts';
import { byLayer, type InsideRun, lackingKernel, runInside } from './inside.ts';

const help = `usage: scripts/vm-lab test FILE ...
       scripts/vm-lab test --not-run TALLY
       scripts/vm-lab build

Machines under qemu with Debian's own kernel: what the kernel of this machine lacks (dummy, vlan, vrf, ipvlan, ipip,
WireGuard, VLAN filtering of bridges, flow tables) is there. Images are made of Debian's packages and kept in
~/.cache/culvert/vm. Needs root but for build; nothing stays when it ends.

  test     runs test files of any layer in a machine: test/conformance/bridge-vlan.test.ts. With --not-run the cases that
           a run of other layers with CULVERT_TALLY=TALLY could not run for want of something in the kernel.
  build    makes the images and no more.`;

const options = { 'not-run': { type: 'string' } } as const;

async function test(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true });
  const tally = values['not-run'];
  if ((tally === undefined) === (positionals.length === 0))
    throw new UsageError('test: want FILE ... or --not-run TALLY');
  for (const file of positionals) {
    if (!existsSync(file)) throw new UsageError(`test: got "${file}", want a file that is there`);
  }
  const runs: InsideRun[] = tally === undefined ? byLayer(positionals) : lackingKernel(readFileSync(tally, 'utf8'));
  let status = 0;
  for (const run of runs) {
    const { exitCode, output, tally: lines } = await runInside(run);
    process.stdout.write(output);
    if (process.env['CULVERT_TALLY']) appendFileSync(process.env['CULVERT_TALLY'], lines);
    if (exitCode !== 0) status = 1;
  }
  return status;
}

async function build(): Promise<number> {
  await ensureBase();
  await modulesDrive();
  await projectDrive();
  return 0;
}

async function main([verb, ...args]: string[]): Promise<number> {
  if (args.includes('--help') || verb === '--help' || verb === undefined) {
    console.log(help);
    return verb === undefined ? 2 : 0;
  }
  try {
    if (verb === 'test') return await test(args);
    if (verb === 'build') return await build();
    throw new UsageError(`got "${verb}", want test or build`);
  } catch (error) {
    const isUsage = error instanceof UsageError || (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS');
    console.error(`vm-lab: ${(error as Error).message}`);
    return isUsage ? 2 : 3;
  }
}

process.exitCode = await main(process.argv.slice(2));

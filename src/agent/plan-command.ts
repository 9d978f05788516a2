/** `culvert plan`: what the agent would do now, as lines for a shell. Only reads. */

import { FileSource } from '../cluster/file.ts';
import { type Command, exitCode } from '../command.ts';
import { birdFiles } from '../kernel/bird.ts';
import { createExec } from '../kernel/exec.ts';
import { createKernel } from '../kernel/kernel.ts';
import type { Machine } from '../kernel/machine.ts';
import { asCommand, render } from '../plan/render.ts';
import { defaultConfigFile, readConfigOption } from './agent.ts';
import { birdLines } from './bird-diff.ts';
import { readConfig, withTraffic } from './config.ts';
import { look } from './converge.ts';
import { withKeys } from './keys.ts';
import { clusterFile } from './source.ts';

async function run(args: string[], machine: Machine): Promise<number> {
  const options = readConfigOption(args, { json: { type: 'boolean' } });
  const notes: string[] = [];
  const config = readConfig(options.config, notes);
  const kernel = createKernel(createExec());
  const source = new FileSource(clusterFile(config));
  const view = source.read();
  const settings = withKeys(withTraffic(config, view), false);
  const { plan, changes } = await look({ view, settings, kernel });
  const problems = plan.problems.map((p) => p.text);
  const bird = await birdLines(plan.bgp?.configuration, birdFiles(config.paths.run));
  for (const note of [...notes, ...source.notes]) machine.warn(note);
  if (options['json']) {
    process.stdout.write(`${JSON.stringify({ changes, lines: changes.flatMap(render), bird, problems }, null, 2)}\n`);
  } else {
    for (const problem of problems) machine.warn(problem);
    for (const line of [...changes.flatMap(render).map(asCommand), ...bird]) process.stdout.write(`${line}\n`);
  }
  return changes.length + bird.length === 0 ? exitCode.fine : exitCode.problems;
}

export const planCommand: Command = {
  name: 'plan',
  summary: 'print the commands that the agent would run now',
  help: `usage: culvert plan [--config FILE] [--json]

Compares this host with what the configuration asks for, and prints the ip, bridge, wg, sysctl and nft lines that make the difference,
in their order; secret keys stand in them by the names of their files. In mode bgp the lines of BIRD's configuration that go and come
follow as comments, then what BIRD is told. Changes nothing.

  --config FILE   the agent's configuration (default ${defaultConfigFile})
  --json          the changes, lines and what is for BIRD as JSON

Exit codes: 0 nothing to do, 1 something to do, 2 wrong usage, 3 could not look.`,
  run,
};

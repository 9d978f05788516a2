/** `culvert install`: the plugins' executables in the runtime's folder, by hand; the agent does the same by itself where it is told to. */

import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type Command, exitCode, UsageError } from '../../command.ts';
import type { Machine } from '../../kernel/machine.ts';
import { mainName, nodeName } from '../../kernel/own.ts';
import { defaultConfigFile } from '../agent.ts';
import { type AgentConfig, decodeConfig, readConfig } from '../config.ts';
import {
  apply,
  describe,
  executableNames,
  type InstallPlan,
  isReal,
  type Kept,
  look,
  plan,
  type Step,
} from './executables.ts';
import { ownMark, ownSources } from './installer.ts';

const options = {
  config: { type: 'string' },
  replace: { type: 'boolean', default: false },
  'dry-run': { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
} as const;

/** The configuration that was named; else the usual one, or the defaults where there is none. */
export function readConfigOrDefaults(file: string | undefined, machine: Pick<Machine, 'warn'>): AgentConfig {
  if (file === undefined && !existsSync(defaultConfigFile)) return decodeConfig({});
  const notes: string[] = [];
  const config = readConfig(file ?? defaultConfigFile, notes);
  for (const note of notes) machine.warn(note);
  return config;
}

const stepLine = (folder: string, { op, name, was }: Step): string =>
  `${op === 'copy' ? 'copy' : 'link'} ${folder}/${name}${was === 'nothing' ? '' : `, in the place of ${was}`}`;

const keptLine = (folder: string, { name }: Kept): string =>
  `kept ${folder}/${name}, another program's; --replace takes its place`;

function report(folder: string, { steps, kept }: InstallPlan, own: string, isDone: boolean): string[] {
  const counts = steps.length === 0 ? `${folder} has ${own}` : `${isDone ? 'installed' : 'would install'} ${own}`;
  return [...steps.map((s) => stepLine(folder, s)), ...kept.map((k) => keptLine(folder, k)), counts];
}

async function run(args: string[], machine: Machine, names: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true });
  if (positionals.length > 0) throw new UsageError(`unexpected argument "${positionals[0]}"`);
  const config = readConfigOrDefaults(values.config, machine);
  const folder = config.paths.cniBin;
  const own = ownMark();
  const foreign = values.replace || config.install === 'replace' ? 'replace' : 'keep';
  const planned = plan(look(folder, names), own, { foreign, otherBuild: 'replace' });
  const isDone = !values['dry-run'];
  if (isDone) await apply(folder, planned.steps, ownSources);
  const lines = report(folder, planned, describe(own), isDone);
  const text = values.json ? JSON.stringify({ folder, ...own, dryRun: !isDone, ...planned }) : lines.join('\n');
  process.stdout.write(`${text}\n`);
  const lacks = planned.kept.some((k) => isReal(k.name)) || (!isDone && planned.steps.length > 0);
  return lacks ? exitCode.problems : exitCode.fine;
}

/** `plugins`: the names to install. */
export const installCommand = (plugins: readonly string[]): Command => ({
  name: 'install',
  summary: "put the plugins' executables where the container runtime looks",
  help: `usage: culvert install [--config FILE] [--replace] [--dry-run] [--json]

Copies "${mainName}" and "${nodeName}", which it becomes, into the folder paths.cniBin of the agent's configuration (/opt/cni/bin) and
makes a link to the first for every plugin's name. Each file takes its place by rename, so it may be done while pods come and go, and again for an upgrade. A file of
that name that is another program's stays. Does not start the agent, which writes the network configuration for the runtime.

  --config FILE   the agent's configuration (default ${defaultConfigFile}, or the defaults where there is none)
  --replace       take the place of other programs' files too
  --dry-run       say what would be done
  --json          folder, version, build, and what is done (steps) and kept, as JSON

Exit codes: 0 all is there, 1 one of the two is another program's, or with --dry-run something to do, 2 wrong usage, 3 could not.`,
  run: (args, machine) => run(args, machine, executableNames(plugins)),
});

/** `culvert probe`: over which ways packets get to the other nodes, how long they may be, and what to do where they do not. */

import { defaultConfigFile, readConfigOption } from '../agent/agent.ts';
import { readConfig } from '../agent/config.ts';
import { type Found, measure } from '../agent/measure.ts';
import { outlookOf } from '../agent/outlook.ts';
import { type Command, exitCode } from '../command.ts';
import { createExec } from '../kernel/exec.ts';
import { table } from '../lab/table.ts';

const words = { full: 'passes', small: 'only small packets', none: 'does not pass' } as const;

function render(found: readonly Found[]): string[] {
  const rows = found.map((f) => [f.node, f.way, f.carries ? 'carries' : '', words[f.passing], String(f.bytes)]);
  return table([['node', 'way', 'now', 'result', 'bytes'], ...rows], ['left', 'left', 'left', 'left', 'right']);
}

async function probe(file: string) {
  const exec = createExec();
  const { view, settings, plan, changes } = await outlookOf(readConfig(file), exec);
  const { found, speakers } = await measure(view, plan, settings, exec);
  const problems = [
    ...(changes.length > 0
      ? [
          `this host is not as planned (culvert plan has ${changes.length} changes), so what is said here may be its fault: is the agent running?`,
        ]
      : []),
    ...plan.problems.map((p) => p.text),
    ...found.filter((f) => f.carries && f.passing !== 'full').map((f) => `${f.node} by ${f.way}: ${f.advice}`),
    ...speakers,
  ];
  const hints = found
    .filter((f) => !f.carries && f.advice !== undefined)
    .map((f) => `${f.node} by ${f.way}: ${f.advice}`);
  const lacking = plan.ways.flatMap((w) => w.lacking.map((l) => `${w.node}: cannot be had: ${l}`));
  return { node: plan.own.name, found, problems, hints: [...hints, ...lacking] };
}

async function run(args: string[]): Promise<number> {
  const options = readConfigOption(args, { json: { type: 'boolean' } });
  const result = await probe(options.config);
  if (options['json']) {
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  } else {
    for (const line of render(result.found)) process.stdout.write(`${line}\n`);
    for (const problem of result.problems) process.stdout.write(`problem: ${problem}\n`);
    for (const hint of result.hints) process.stdout.write(`note: ${hint}\n`);
  }
  return result.problems.length === 0 ? exitCode.fine : exitCode.problems;
}

export const probeCommand: Command = {
  name: 'probe',
  summary: 'show over which ways packets get to the other nodes, and how long they may be',
  help: `usage: culvert probe [--config FILE] [--json]

Run on a node. Sends packets that must not be fragmented to every other node, over each way that this host has: that of its mode, and in
mode auto all candidates. To try those before they carry anything: traffic: { mode: …, alsoAccept: { mode: auto } } in the cluster
file. In mode bgp it also knocks at TCP port 179. "bytes" is how long a pod's packet may be. Changes nothing.

  --config FILE   the agent's configuration (default ${defaultConfigFile})
  --json          as JSON

Exit codes: 0 what carries pods' packets passes, at full size, 1 something of it does not: the line says what to do, 2 wrong usage,
3 could not look.`,
  run,
};

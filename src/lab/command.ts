/** `culvert lab`: networks of namespaces on this machine, from a topology file. */

import { constants } from 'node:os';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { parse as parseYaml } from 'yaml';
import { type Command, exitCode, UsageError } from '../command.ts';
import { ConfigError } from '../errors.ts';
import type { Machine } from '../kernel/machine.ts';
import { netnsState } from '../kernel/netns.ts';
import { runDemo } from './demo-command.ts';
import type { Lab } from './lab.ts';
import { labOptions, openLab, readTopologyFile } from './open.ts';
import { defaultStateDir, labVariable } from './place.ts';
import { type LabStatus, labStatus, type PathStatus } from './status.ts';
import { table } from './table.ts';
import type { AgentSettings } from './topology.ts';

const help = `usage: culvert lab up [FILE] [--set KEY=VALUE ...] [--name NAME]
       culvert lab status [--json] [--name NAME]
       culvert lab exec HOST [--name NAME] -- COMMAND [ARGUMENT ...]
       culvert lab down [--name NAME]
       culvert lab demo FILE [--checks] [--json FILE] [--name NAME]

Nodes, routers and pods as network namespaces on this machine. Every node runs a real agent, every pod is attached by
executing the real plugins; the machine's own network is not touched. Needs root.

  up      builds what the topology FILE says and waits until every pod is attached. Run again, it mends what is
          missing and changes what differs; without FILE it takes the topology of last time.
  status  nodes, agents, pods with their addresses, and the way packets take from node to node.
  exec    runs a command in the namespace of a node, router, pod or "outside"; its exit code is passed on.
  down    removes every namespace, process and file of the lab.
  demo    takes a lab through vxlan, vxlan with direct routes in one subnet, and routed: who reaches whom, what is on
          the wire, how fast; then removes it. --checks leaves the speed out, --json FILE writes all of it for programs.

  --name NAME      the lab's name, so that several fit on one machine (default: culvert)
  --set KEY=VALUE  an agent setting for all nodes, such as mode=routed or sameSubnet=direct
  --state DIR      where labs keep their files (default: ${defaultStateDir})
  --bin DIR        where the executable and the plugins' links are (default: where this program is)
  --json           status for programs

Topologies to start from: conf/lab/*.yaml. Exit codes: 0 fine, 1 found problems, 2 wrong usage, 3 could not look.`;

const options = {
  ...labOptions,
  set: { type: 'string', multiple: true, default: [] as string[] },
  json: { type: 'boolean', default: false },
} as const;

type Values = ReturnType<typeof parseArgs<{ options: typeof options }>>['values'];

/** Settings of `--set`: values are YAML, so that numbers, truth values and mappings are what they look like. */
export function parseSettings(pairs: readonly string[]): AgentSettings {
  return Object.fromEntries(
    pairs.map((pair) => {
      const equals = pair.indexOf('=');
      if (equals < 1) throw new UsageError(`--set: got "${pair}", want KEY=VALUE such as mode=routed`);
      return [pair.slice(0, equals), parseYaml(pair.slice(equals + 1)) as unknown];
    }),
  );
}

const say = (text: string): void => void process.stdout.write(`${text}\n`);

async function up(file: string | undefined, values: Values, lab: Lab): Promise<number> {
  const overrides = parseSettings(values.set ?? []);
  const saved = file === undefined ? lab.saved() : undefined;
  if (file === undefined && !saved) throw new UsageError(`FILE: got nothing, and lab "${lab.place.lab}" was never up`);
  try {
    const document = file === undefined ? saved!.document : readTopologyFile(file);
    await lab.up(document, { ...saved?.overrides, ...overrides }, (text) => say(`  ${text}`));
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const isConfig = error instanceof ConfigError;
    const lines = isConfig ? error.problems.map((p) => `  ${p.path}: got ${p.got}, want ${p.want}`) : [];
    const text = isConfig ? `${file ?? 'the saved topology'} is wrong:\n${lines.join('\n')}` : (error as Error).message;
    process.stderr.write(`culvert lab up: ${text}\n`);
    return isConfig ? exitCode.usage : exitCode.problems;
  }
  say(`lab ${lab.place.lab} is up: culvert lab status, culvert lab exec HOST -- COMMAND`);
  return exitCode.fine;
}

/** Paths as a table from × to; both families in one cell where they differ. */
function pathRows(paths: readonly PathStatus[], nodes: readonly string[]): string[][] {
  const cell = (from: string, to: string): string => {
    const found = paths.filter((p) => p.from === from && p.to === to).map((p) => p.path);
    return from === to ? '-' : [...new Set(found)].join(', ');
  };
  return [['from \\ to', ...nodes], ...nodes.map((from) => [from, ...nodes.map((to) => cell(from, to))])];
}

function renderStatus(status: LabStatus): string {
  const nodes = table([
    ['node', 'mode', 'agent', 'addresses', 'podCIDRs'],
    ...status.nodes.map((n) => [n.name, n.mode, n.agent, n.addresses.join(' '), n.podCIDRs.join(' ')]),
  ]);
  const pods = table([
    ['pod', 'node', 'addresses'],
    ...status.nodes.flatMap((n) =>
      n.pods.map((p) => [p.name, n.name, p.attached ? p.addresses.join(' ') : 'not attached']),
    ),
  ]);
  const paths = table(
    pathRows(
      status.paths,
      status.nodes.map((n) => n.name),
    ),
  );
  return [...nodes, '', ...pods, '', 'the way to pods:', ...paths].join('\n');
}

async function status(values: Values, lab: Lab, machine: Machine): Promise<number> {
  const found = await labStatus(lab, machine);
  say(values.json ? JSON.stringify(found, null, 2) : renderStatus(found));
  return found.healthy ? exitCode.fine : exitCode.problems;
}

async function exec(host: string | undefined, command: readonly string[], lab: Lab): Promise<number> {
  if (host === undefined || command.length === 0) throw new UsageError('exec: want HOST -- COMMAND [ARGUMENT ...]');
  const netns = lab.place.netns(host);
  if (netnsState(netns) !== 'namespace') throw new Error(`lab ${lab.place.lab} has no node, router or pod "${host}"`);
  const ran = await execa('nsenter', [`--net=${netns}`, '--', ...command], {
    stdio: 'inherit',
    reject: false,
    env: { [labVariable]: lab.place.lab },
  });
  return ran.exitCode ?? 128 + (ran.signal ? constants.signals[ran.signal] : 0);
}

async function down(lab: Lab): Promise<number> {
  const removed = await lab.down();
  const isEmpty = removed.namespaces + removed.processes === 0 && !removed.hadFiles;
  say(
    isEmpty
      ? `there is no lab ${lab.place.lab}: nothing to remove`
      : `lab ${lab.place.lab} is gone: ${removed.namespaces} namespaces, ${removed.processes} processes and its files`,
  );
  return exitCode.fine;
}

async function run(args: string[], machine: Machine): Promise<number> {
  if (args[0] === 'demo') return runDemo(args.slice(1), machine);
  const dashes = args.indexOf('--');
  const own = dashes < 0 ? args : args.slice(0, dashes);
  const rest = dashes < 0 ? [] : args.slice(dashes + 1);
  const { values, positionals } = parseArgs({ args: own, options, allowPositionals: true });
  const [verb, argument, ...extra] = positionals;
  if (!['up', 'status', 'exec', 'down'].includes(verb ?? ''))
    throw new UsageError(`got ${verb === undefined ? 'nothing' : `"${verb}"`}, want up, status, exec, down or demo`);
  if (extra.length > 0 || (argument !== undefined && ['status', 'down'].includes(verb!)))
    throw new UsageError(`${verb}: got "${extra[0] ?? argument}", want nothing after it`);
  const lab = openLab(values, machine);
  switch (verb) {
    case 'up':
      return up(argument, values, lab);
    case 'status':
      return status(values, lab, machine);
    case 'exec':
      return exec(argument, rest, lab);
    default:
      return down(lab);
  }
}

export const lab: Command = {
  name: 'lab',
  summary: 'networks of nodes, routers and pods as namespaces on this machine',
  help,
  run,
};

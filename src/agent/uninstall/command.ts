/** `culvert uninstall`: lists all that is ours on this node, and removes it. */

import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Command, exitCode, UsageError } from '../../command.ts';
import { isObject } from '../../decode.ts';
import type { Machine } from '../../kernel/machine.ts';
import { defaultConfigFile } from '../agent.ts';
import { type AgentConfig, parseListen } from '../config.ts';
import { readConfigOrDefaults } from '../install/command.ts';
import { otherConflists } from '../node-files.ts';
import { findOwned, type Item, type OwnedNode, removeOwned } from './owned.ts';

const options = {
  config: { type: 'string' },
  force: { type: 'boolean', default: false },
  'dry-run': { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
} as const;

const answerTimeoutMs = 1000;

/** Whether anybody takes a connection where the agent serves its status. */
function agentAnswers(listen: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(parseListen(listen)!);
  const end = (answer: boolean): void => {
    socket.destroy();
    resolve(answer);
  };
  socket.once('connect', () => end(true));
  socket.once('error', () => end(false));
  socket.setTimeout(answerTimeoutMs, () => end(false));
  return promise;
}

/** The types of plugins that a network configuration names. */
function typesIn(file: string): string[] {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    const plugins = isObject(value) && Array.isArray(value['plugins']) ? value['plugins'] : [value];
    return plugins.filter(isObject).flatMap((p) => {
      const ipam = isObject(p['ipam']) ? p['ipam']['type'] : undefined;
      return [p['type'], ipam].filter((t): t is string => typeof t === 'string');
    });
  } catch {
    return []; // no runtime can read it either
  }
}

/** Networks of others that would lose their plugins: "87-podman.conflist (bridge, host-local)". */
function users(folder: string, executables: readonly string[]): string[] {
  const { before, after } = otherConflists(folder);
  return [...before, ...after].flatMap((name) => {
    const types = typesIn(join(folder, name)).filter((type) => executables.includes(type));
    return types.length > 0 ? [`${name} (${[...new Set(types)].join(', ')})`] : [];
  });
}

/** Why it should not be done now. */
async function objections({ listen, paths }: AgentConfig, { pods, executables }: OwnedNode): Promise<string[]> {
  const networks = users(paths.cniConf, executables);
  const attached = pods.length === 1 ? '1 pod is attached' : `${pods.length} pods are attached`;
  return [
    ...((await agentAnswers(listen))
      ? [`an agent answers at ${listen}: stop it first, or it makes everything anew`]
      : []),
    ...(pods.length > 0
      ? [
          `${attached} here and will lose the network at once, and no runtime can detach what has no plugin: drain the node first`,
        ]
      : []),
    ...(networks.length > 0
      ? [`other networks in ${paths.cniConf} use these executables: ${networks.join(', ')}`]
      : []),
  ];
}

const line = ({ kind, name, detail }: Item): string => `${kind.padEnd(10)}  ${name}${detail ? ` (${detail})` : ''}`;

async function run(args: string[], machine: Machine, plugins: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true });
  if (positionals.length > 0) throw new UsageError(`unexpected argument "${positionals[0]}"`);
  const config = readConfigOrDefaults(values.config, machine);
  const owned = await findOwned(config, plugins, machine);
  const items = owned.shares.flatMap((s) => s.items);
  const against = items.length > 0 ? await objections(config, owned) : [];
  const isDryRun = values['dry-run'];
  const isRefused = against.length > 0 && !values.force;
  const failures = isDryRun || isRefused ? [] : await removeOwned(owned);
  const isRemoved = !isDryRun && !isRefused;
  const said = [
    ...items.map(line),
    ...owned.remarks,
    ...against.map((text) => `${isRefused ? 'not now' : 'in spite of'}: ${text}`),
    ...failures.map((text) => `failed: ${text}`),
    items.length === 0
      ? 'nothing here is ours'
      : `${items.length} objects${isRemoved ? ' removed' : isRefused ? '; --force removes them all the same' : ''}`,
  ];
  const document = { dryRun: isDryRun, removed: isRemoved, objects: items, pods: owned.pods, against, failures };
  process.stdout.write(`${values.json ? JSON.stringify({ ...document, remarks: owned.remarks }) : said.join('\n')}\n`);
  const isLeft = items.length > 0 && (!isRemoved || failures.length > 0);
  return isLeft ? exitCode.problems : exitCode.fine;
}

/** `plugins`: the names of executables that may be ours. */
export const uninstallCommand = (plugins: readonly string[]): Command => ({
  name: 'uninstall',
  summary: 'list all that is ours on this node, and remove it',
  help: `usage: culvert uninstall [--config FILE] [--dry-run] [--force] [--json]

Removes, in this order: the network configuration and the node file, so that no further pods come; BIRD and its routes; routes,
tunnels, pods' links and nft tables with our marks, whichever plugin made them; puts sysctls back to what they were; removes the
leases of the cluster's network, keys and other files of the agent, and the executables. Configuration files stay.

Refuses while an agent runs, while pods are attached (they lose the network at once: drain the node first), and while other network
configurations use these executables.

  --config FILE   the agent's configuration, for its paths (default ${defaultConfigFile}, or the defaults where there is none)
  --dry-run       only list
  --force         do not refuse
  --json          objects, pods, against (why not), failures and remarks as JSON

Exit codes: 0 nothing is left, 1 something is: listed, refused or failed, 2 wrong usage, 3 could not look.`,
  run: (args, machine) => run(args, machine, plugins),
});

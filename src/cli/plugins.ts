/** `culvert plugins`: the plugins of this executable, what each of them takes, and where it is linked. Only reads. */

import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { ipamPlugins } from '../../plugins/ipam-plugins.ts';
import { plugins as all } from '../../plugins/plugins.ts';
import { isOwn } from '../cni/delegate.ts';
import { capabilitiesOf, type Key, keysOf } from '../cni/keys.ts';
import type { Plugin } from '../cni/skel.ts';
import type { Command as Verb } from '../cni/types.ts';
import { commandSince, supportedVersions } from '../cni/version.ts';
import { type Command, exitCode, UsageError } from '../command.ts';
import type { Machine } from '../kernel/machine.ts';
import { table } from '../lab/table.ts';

const defaultPath = '/opt/cni/bin';

interface Described {
  name: string;
  summary: string;
  /** Makes an interface, gives addresses, or works on what a plugin before it made. */
  kind: 'interface' | 'ipam' | 'chained';
  verbs: string[];
  cniVersions: readonly string[];
  capabilities: string[];
  keys: Key[];
  /** Files that are this executable under the plugin's name. */
  linked: string[];
  /** Files of that name that are another program. */
  others: string[];
}

const kindOf = ({ name, chained }: Plugin<Machine>): Described['kind'] =>
  ipamPlugins.some((p) => p.name === name) ? 'ipam' : chained ? 'chained' : 'interface';

/** Every verb of the protocol; VERSION is answered for all plugins alike. */
const verbsOf = (plugin: Plugin<Machine>): Verb[] =>
  (Object.keys(commandSince) as Verb[]).filter((verb) => verb === 'VERSION' || verb.toLowerCase() in plugin);

function describe(plugin: Plugin<Machine>, folders: readonly string[], { executable }: Machine): Described {
  const { name, about } = plugin;
  const files = folders
    .map((dir) => join(dir, name))
    .filter((file) => statSync(file, { throwIfNoEntry: false })?.isFile());
  return {
    name,
    summary: about,
    kind: kindOf(plugin),
    verbs: verbsOf(plugin),
    cniVersions: supportedVersions,
    capabilities: capabilitiesOf(plugin),
    keys: keysOf(plugin),
    linked: files.filter((file) => isOwn(file, executable)),
    others: files.filter((file) => !isOwn(file, executable)),
  };
}

/** The folders where a runtime may look: CNI_PATH, the usual one, and our own. */
function foldersOf({ executable }: Machine): string[] {
  const path = (process.env['CNI_PATH'] ?? '').split(':').filter((dir) => dir !== '');
  return [...new Set([...path, defaultPath, dirname(executable)])];
}

const listed = (words: readonly string[]): string => (words.length > 0 ? words.join(' ') : '-');

function overview(plugins: readonly Described[]): string[] {
  const rows = plugins.map((p) => [p.name, p.kind, listed(p.capabilities), p.summary]);
  const verbs = new Set(plugins.map((p) => p.verbs.join(' ')));
  const folders = Map.groupBy(
    plugins.flatMap((p) => [
      ...p.linked.map((file) => ({ folder: dirname(file), text: p.name })),
      ...p.others.map((file) => ({ folder: dirname(file), text: `${p.name} (another program)` })),
    ]),
    (link) => link.folder,
  );
  return [
    ...table([['PLUGIN', 'KIND', 'CAPABILITIES', 'WHAT IT DOES'], ...rows]),
    '',
    ...[...verbs].map((v) => `verbs: ${v}`),
    `CNI versions: ${supportedVersions.join(' ')}`,
    ...[...folders].map(([folder, links]) => `linked in ${folder}: ${links.map((l) => l.text).join(', ')}`),
    ...(folders.size === 0 ? ['linked nowhere on CNI_PATH'] : []),
  ];
}

const detail = (p: Described): string[] => [
  `${p.name}: ${p.summary}`,
  `kind: ${p.kind}`,
  `verbs: ${listed(p.verbs)}`,
  `CNI versions: ${listed(p.cniVersions)}`,
  `capabilities: ${listed(p.capabilities)}`,
  `linked: ${listed(p.linked)}`,
  ...(p.others.length > 0 ? [`another program: ${listed(p.others)}`] : []),
  '',
  ...(p.keys.length > 0 ? table([['KEY', 'TAKES'], ...p.keys.map((k) => [k.path, k.want])]) : ['no keys of its own']),
];

async function run(args: string[], machine: Machine): Promise<number> {
  const { values, positionals } = parseArgs({ args, options: { json: { type: 'boolean' } }, allowPositionals: true });
  const unknown = positionals.find((name) => !all.has(name));
  if (unknown !== undefined)
    throw new UsageError(`no plugin "${unknown}" here: there are ${[...all.keys()].join(', ')}`);
  const names = positionals.length > 0 ? positionals : [...all.keys()];
  const folders = foldersOf(machine);
  const plugins = names.map((name) => describe(all.get(name)!, folders, machine));
  const text =
    positionals.length > 0 ? plugins.map((p) => detail(p).join('\n')).join('\n\n') : overview(plugins).join('\n');
  process.stdout.write(values.json ? `${JSON.stringify({ plugins }, null, 2)}\n` : `${text}\n`);
  return exitCode.fine;
}

export const pluginsCommand: Command = {
  name: 'plugins',
  summary: 'list the plugins of this executable, or the keys of one',
  help: `usage: culvert plugins [--json] [PLUGIN ...]

Without a name: every plugin with its kind, the capabilities it takes and what it does; the verbs and CNI versions; and where on
CNI_PATH, in ${defaultPath} and beside this executable the names lead to it, or to another program. With names: of each of
these plugins every key that its decoder reads, with what the key takes. An IPAM plugin's capabilities come on top of those of
the interface plugin that calls it.

  --json   all of it as JSON

Exit codes: 0 fine, 2 wrong usage.`,
  run,
};

/** `culvert validate`: network configurations by the decoders that the plugins use at ADD. Reads files; changes nothing. */

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Command, exitCode, UsageError } from '../command.ts';
import type { Machine } from '../kernel/machine.ts';
import { type ReadDocument, readDocument } from './validate/document.ts';
import { type Finding, formatFinding } from './validate/finding.ts';
import { betweenDocuments } from './validate/folder.ts';
import { foreignPlugins } from './validate/foreign.ts';

const defaultPath = '/opt/cni/bin';

/** What runtimes read of a folder. */
const extensions = ['.conf', '.conflist', '.json'];

/** A file or folder that could not be read; the rest is looked at all the same. */
interface Unreadable {
  file: string;
  error: string;
}

const isUnreadable = (item: object): item is Unreadable => 'error' in item;

/** The files that an argument stands for. */
function filesOf(argument: string): (string | Unreadable)[] {
  if (argument === '-') return [argument];
  try {
    if (!statSync(argument).isDirectory()) return [argument];
    const names = readdirSync(argument).filter((name) => extensions.includes(extname(name)));
    const files = names.sort().map((name) => join(argument, name));
    return files.length > 0 ? files : [{ file: argument, error: `no ${extensions.join(', ')} file in it` }];
  } catch (error) {
    return [{ file: argument, error: (error as Error).message }];
  }
}

function read(file: string): ReadDocument | Unreadable {
  try {
    return file === '-'
      ? readDocument('<stdin>', readFileSync(0, 'utf8'))
      : readDocument(file, readFileSync(file, 'utf8'));
  } catch (error) {
    return { file, error: (error as Error).message };
  }
}

/** libcni adds the plugins of such a folder to the list, unless the list forbids it. */
function folderOfMore({ file, network, located }: ReadDocument): Finding[] {
  const folder = join(dirname(file), network?.name || '.');
  if (!located || !network?.name || !statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return [];
  const message = `runtimes may add the plugins of the folder ${folder}, which were not looked at`;
  return [{ file, ...located.placeOf('name'), path: 'name', severity: 'remark', message }];
}

const inOrder = (a: Finding, b: Finding): number => a.line - b.line || a.column - b.column;

/** One line for a file that nothing was found in. */
function fine({ file, network }: ReadDocument): string {
  const { name = '', plugins = [] } = network ?? {};
  return `${file}: fine: network "${name}": ${plugins.map((p) => p.type).join(', ')}`;
}

function report(documents: readonly ReadDocument[], findings: readonly Finding[]): string {
  const lines = documents.flatMap((document) => {
    const own = findings.filter((f) => f.file === document.file);
    return own.length > 0 ? own.toSorted(inOrder).map(formatFinding) : [fine(document)];
  });
  return `${lines.join('\n')}\n`;
}

async function run(args: string[], machine: Machine): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    options: { json: { type: 'boolean' }, strict: { type: 'boolean' }, path: { type: 'string' } },
    allowPositionals: true,
  });
  if (positionals.length === 0) throw new UsageError('which file? name one, a folder, or "-" for standard input');
  const path = (values.path ?? process.env['CNI_PATH'] ?? defaultPath).split(':').filter((dir) => dir !== '');
  const read1 = (item: string | Unreadable) => (typeof item === 'string' ? read(item) : item);
  const items = [...new Set(positionals.flatMap(filesOf))].map(read1);
  const unreadable = items.filter(isUnreadable);
  const documents = items.filter((item): item is ReadDocument => !isUnreadable(item));
  const foreign = await Promise.all(documents.map((d) => foreignPlugins(d, path, machine)));
  const findings = [
    ...documents.flatMap((d) => [...d.findings, ...folderOfMore(d)]),
    ...betweenDocuments(documents),
    ...foreign.flat(),
  ];
  for (const { file, error } of unreadable) machine.warn(`${file}: ${error}`);
  if (values.json)
    process.stdout.write(`${JSON.stringify({ files: documents.map((d) => d.file), findings, unreadable }, null, 2)}\n`);
  else if (documents.length > 0) process.stdout.write(report(documents, findings));
  if (unreadable.length > 0) return exitCode.couldNotLook;
  return findings.some((f) => f.severity === 'problem' || values.strict) ? exitCode.problems : exitCode.fine;
}

export const validate: Command = {
  name: 'validate',
  summary: 'name every wrong key of network configurations',
  help: `usage: culvert validate [--strict] [--path DIR[:DIR ...]] [--json] FILE ...

Reads configuration lists and configurations of single plugins with the decoders that the plugins use at ADD, and prints
FILE:LINE:COLUMN, the key's path, what stands there and what was expected. FILE may be a folder such as /etc/cni/net.d, whose
files are then looked at together as well (a name twice, overlapping subnets), or "-" for standard input. Runs no plugin but
those of others, and these only to ask for the versions they support; changes nothing.

What makes an ADD fail, or do what hardly was meant, is a problem: wrong values, misspelled keys, capabilities that no plugin
takes, chained plugins without one that makes an interface. A remark is worth knowing: an unknown key that resembles none, a
plugin of others that is not there.

  --strict     remarks count as problems
  --path DIRS  where plugins of others are (default: CNI_PATH, or ${defaultPath})
  --json       files, findings and what could not be read as JSON

Exit codes: 0 fine, 1 found problems, 2 wrong usage, 3 could not look.`,
  run,
};

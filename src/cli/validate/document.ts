/** One file's network: what its syntax, its list, each of its plugins by that plugin's own decoder, and its chain have against it. */

import { ipamPlugins } from '../../../plugins/ipam-plugins.ts';
import { plugins } from '../../../plugins/plugins.ts';
import { chainNotes, checkChain } from '../../cni/chain.ts';
import { type ListedPlugin, type Network, readNetwork } from '../../cni/conflist.ts';
import { requestOf } from '../../cni/keys.ts';
import { type Located, locate, placeAt } from '../../decode/locate.ts';
import { type Asked, at, isObject, type Notes, show } from '../../decode.ts';
import { CniError, ConfigError, type Problem } from '../../errors.ts';
import type { Finding } from './finding.ts';

const suite = { plugins, ipam: ipamPlugins.map((p) => p.name) };

/** A file with the network in it, and all that was found; no network where the text is none. */
export interface ReadDocument {
  file: string;
  network?: Network;
  located?: Located;
  findings: Finding[];
}

/** What a reading came to, every path from the document's top. */
interface Reading {
  problems: Problem[];
  notes: string[];
  unknown: Problem[];
  asked: ReadonlyMap<string, Asked>;
}

/** A reading's problems as its error has them: all wrong fields, or the one thing a decoder refused outright. */
function problemsOf(error: unknown): Problem[] {
  if (error instanceof ConfigError) return error.problems;
  if (!(error instanceof CniError)) throw error;
  if (error.cause instanceof ConfigError) return error.cause.problems;
  return [{ path: '', got: error.message, want: error.details }];
}

function reading(path: string, read: (notes: Notes) => unknown): Reading {
  const asked = new Map<string, Asked>();
  const unknown: Problem[] = [];
  const notes: Notes = Object.assign([] as string[], { asked, unknown });
  let problems: Problem[] = [];
  try {
    read(notes);
  } catch (error) {
    problems = problemsOf(error);
  }
  const below = (p: Problem): Problem => ({ ...p, path: p.path === '' ? path : at(path, p.path) });
  return { problems: problems.map(below), unknown: unknown.map(below), notes: notes.map((n) => at(path, n)), asked };
}

/** By the plugin's decoder, and by that of its IPAM plugin where it has one. STATUS: whether an ADD could be served. */
function readPlugin({ path, type, conf }: ListedPlugin): Reading[] {
  const plugin = plugins.get(type);
  if (!plugin) return [];
  const request = requestOf(conf, 'STATUS');
  const own = reading(path, (notes) => plugin.decode(request, notes));
  const ipam = isObject(conf['ipam']) ? conf['ipam']['type'] : undefined;
  const delegated = own.asked.has('ipam.type') ? ipamPlugins.find((p) => p.name === ipam) : undefined;
  return delegated ? [own, reading(path, (notes) => delegated.decode(request, notes))] : [own];
}

/** V8 names the place in its message, where there is one. */
function syntaxError(file: string, text: string, error: Error): Finding {
  const offset = /at position (\d+)/.exec(error.message)?.[1] ?? (/end of JSON/.test(error.message) ? text.length : 0);
  const message = `not JSON: ${error.message.replace(/ \(line \d+ column \d+\)$/, '')}`;
  return { file, ...placeAt(text, Number(offset)), path: '', severity: 'problem', message };
}

/** Everything that one text alone tells. */
export function readDocument(file: string, text: string): ReadDocument {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    return { file, findings: [syntaxError(file, text, error as Error)] };
  }
  if (!isObject(document)) {
    const message = `got ${show(document)}, want an object`;
    return { file, findings: [{ file, line: 1, column: 1, path: '', severity: 'problem', message }] };
  }
  const located = locate(text);
  const notes: Notes = Object.assign([] as string[], { unknown: [] });
  const { network, problems } = readNetwork(document, notes);
  const readings: Reading[] = [
    {
      problems: [...problems, ...twice(located), ...checkChain(network, suite)],
      notes,
      unknown: notes.unknown!,
      asked: new Map(),
    },
    { problems: [], notes: chainNotes(network), unknown: [], asked: new Map() },
    ...network.plugins.flatMap(readPlugin),
  ];
  const findings = readings.flatMap((r) => findingsOf(r).map((f) => ({ file, ...located.placeOf(f.path), ...f })));
  return { file, network, located, findings: distinct(findings) };
}

const twice = ({ duplicates }: Located): Problem[] =>
  duplicates.map((path) => ({ path, got: 'the key a second time', want: 'it once: the last one counts' }));

/** `place: text` of a note, apart. */
function remarkOf(note: string): { path: string; message: string } {
  const end = note.indexOf(': ');
  return { path: note.slice(0, Math.max(end, 0)), message: note.slice(end < 0 ? 0 : end + 2) };
}

/** A key that resembles a right one is a typing error, and so a problem; any other that is unknown may be somebody else's. */
const findingsOf = ({ problems, unknown, notes }: Reading) => [
  ...problems.map((p) => ({ ...p, severity: 'problem' as const, message: `got ${p.got}, want ${p.want}` })),
  ...unknown.map(({ path, got, want }) =>
    want === ''
      ? { path, got, severity: 'remark' as const, message: 'unknown key, ignored' }
      : { path, got, want, severity: 'problem' as const, message: `unknown key; did you mean "${want}"?` },
  ),
  ...notes.map((note) => ({ severity: 'remark' as const, ...remarkOf(note) })),
];

/** A plugin and its IPAM may have the same to say. */
const distinct = (findings: Finding[]): Finding[] => [
  ...new Map(findings.map((f) => [`${f.path}\0${f.severity}\0${f.message}`, f])).values(),
];

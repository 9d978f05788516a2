/**
 * Reads a cluster file again and again. Parsing 5,000 nodes of YAML takes half a second, and usually one entry changed: the text
 * is cut into the entries of `nodes`, and only entries not seen before are parsed. It is cut only where YAML leaves no doubt that an
 * entry begins; any other file is parsed whole.
 */

import { ConfigError } from '../errors.ts';
import { parseYaml } from './document.ts';

/**
 * Lines without quotes, tabs, anchors, aliases, tags, block scalars, braces, document marks: nothing that could reach over the
 * end of a line, but plain text and brackets. Brackets have to close where they open.
 */
const tame = /^(?:[A-Za-z0-9 .:/_,-]|\[[A-Za-z0-9 .:/_,-]*\])*(?: #[^\t]*)?$/;
const comment = /^ *(?:#.*)?$/;

/** The entries of a document that is nothing but `nodes:` and a block sequence, or undefined. */
export function entriesOf(text: string): string[] | undefined {
  const lines = text.split('\n');
  const start = lines.findIndex((line) => !comment.test(line));
  if (!/^nodes: *(?:#.*)?$/.test(lines[start] ?? '')) return undefined;
  const entries: string[][] = [];
  let dash: string | undefined;
  for (const line of lines.slice(start + 1)) {
    // a dash at this column begins an entry whatever came before; what is further to the right belongs to the entry before it
    dash ??= /^ *-(?= )/.exec(line)?.[0];
    if (comment.test(line)) entries.at(-1)?.push(line);
    else if (dash === undefined || !tame.test(line)) return undefined;
    else if (line.startsWith(`${dash} `)) entries.push([line]);
    else if (entries.length > 0 && line.startsWith(' '.repeat(dash.length))) entries.at(-1)!.push(line);
    else return undefined;
  }
  return entries.length > 0 ? entries.map((e) => e.join('\n')) : undefined;
}

export class NodeList {
  #known = new Map<string, unknown>();

  /** The document's value; throws ConfigError with line and column when it is not YAML. */
  parse(text: string, name: string): unknown {
    const entries = entriesOf(text);
    if (!entries) return parseYaml(text, name);
    try {
      const next = new Map(entries.map((e) => [e, this.#known.get(e) ?? parseEntry(e)]));
      this.#known = next;
      return { nodes: entries.map((e) => next.get(e)) };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return parseYaml(text, name); // for the places of its errors
    }
  }
}

/** One entry as a document of its own: a sequence of one. */
function parseEntry(entry: string): unknown {
  const value = parseYaml(entry, 'entry');
  if (!Array.isArray(value) || value.length !== 1) throw new ConfigError([]);
  return value[0];
}

/**
 * Reads a cluster file again and again. Parsing 5,000 nodes of YAML takes half a second and much memory, and usually one entry
 * changed: the text is cut into the entries of `nodes`, and only entries not seen before are parsed. It is cut only where YAML
 * leaves no doubt that an entry begins; any other file is parsed whole. Entries of the usual shape need no YAML parser either.
 */

import { isObject } from '../decode.ts';
import { ConfigError } from '../errors.ts';
import { MappedList } from '../mapped-list.ts';
import { firstWhere } from '../net/search.ts';
import { parseYaml } from './document.ts';

/**
 * A line of plain text, quoted words, brackets and braces that all close where they open: without tabs, anchors, aliases, tags,
 * escapes, block scalars and document marks nothing in it can reach over its end but plain text.
 */
const tame = (() => {
  const text = '[A-Za-z0-9 .:/_,+=-]';
  const atom = `${text}|"${text}*"|'${text}*'`;
  const list = `\\[(?:${atom})*\\]`;
  const map = `\\{(?:${atom}|${list})*\\}`;
  return new RegExp(`^(?:${atom}|${list}|${map})*(?: #[^\\t]*)?$`);
})();
const comment = /^ *(?:#.*)?$/;

/** A document cut up: its keys before `nodes:`, and the entries of that. */
interface Cut {
  readonly text: string;
  readonly head: string;
  /** All that comes before the first entry. */
  readonly prologue: string;
  /** With line feeds between them the rest of the text. */
  readonly entries: string[];
}

const isNodes = (line: string): boolean => /^nodes: *(?:#.*)?$/.test(line);
const isKey = (line: string): boolean => comment.test(line) || (/^[a-zA-Z]+: /.test(line) && tame.test(line));
/** What stands before the first word of an entry, where a line begins one. */
const dashOf = (line: string): string | undefined => /^ *- /.exec(line)?.[0];

/** Lines of which the first begins an entry. A dash at its column begins the next one; what is further to the right belongs to the one before. */
function entriesOf(lines: readonly string[], dash: string): string[] | undefined {
  const entries: string[] = [];
  for (const line of lines) {
    const isComment = comment.test(line);
    if (!isComment && !tame.test(line)) return undefined;
    if (line.startsWith(dash)) entries.push(line);
    else if (isComment || line.startsWith(' '.repeat(dash.length - 1))) entries[entries.length - 1] += `\n${line}`;
    else return undefined;
  }
  return entries;
}

/** Of a document whose last key is `nodes:` with a block sequence, and whose others are a line each; undefined of any other. */
export function cut(text: string): Cut | undefined {
  const lines = text.split('\n');
  const nodes = lines.findIndex(isNodes);
  const head = lines.slice(0, nodes);
  if (nodes < 0 || !head.every(isKey)) return undefined;
  const first = lines.findIndex((line, i) => i > nodes && !comment.test(line));
  const dash = dashOf(lines[first] ?? '');
  const entries = dash === undefined ? undefined : entriesOf(lines.slice(first), dash);
  const prologue = lines.slice(0, first).map((line) => `${line}\n`);
  return entries && { text, head: head.join('\n'), prologue: prologue.join(''), entries };
}

/** How long a beginning and, behind that, an end two texts have in common. Long pieces are compared fastest by the piece. */
function commonEnds(a: string, b: string): [start: number, end: number] {
  const shorter = Math.min(a.length, b.length);
  // one more than this is too many
  const start = firstWhere(shorter, (n) => a.slice(0, n + 1) !== b.slice(0, n + 1));
  const end = firstWhere(shorter - start, (n) => a.slice(a.length - n - 1) !== b.slice(b.length - n - 1));
  return [start, end];
}

/** As `cut`, of a text most of which is as before: only what is between the entries that it begins and ends with as before is read by line. */
export function cutAgain(text: string, before: Cut): Cut | undefined {
  const { prologue, entries } = before;
  const [start, end] = commonEnds(text, before.text);
  if (start < prologue.length) return undefined;
  // an entry with the line feed behind it, or before it
  let [from, first] = [prologue.length, 0];
  while (first < entries.length && from + entries[first]!.length < start) from += entries[first++]!.length + 1;
  let [to, last] = [text.length, entries.length];
  while (last > first && to - entries[last - 1]!.length > text.length - end) to -= entries[--last]!.length + 1;
  // what follows an entry may go on with it
  if (first > 0) from -= entries[--first]!.length + 1;
  const lines = text.slice(from, to).split('\n');
  const dash = dashOf(entries[0]!)!;
  const between = lines[0]!.startsWith(dash) ? entriesOf(lines, dash) : undefined;
  return between && { ...before, text, entries: [...entries.slice(0, first), ...between, ...entries.slice(last)] };
}

/**
 * The usual entry: name, addresses, podCIDRs, perhaps publicKey and site, each once and in this order, lists in brackets on one
 * line, values that YAML reads as the text they are: a name that begins with a letter, addresses with two dots or two colons. What
 * ends in a colon has to be quoted.
 */
const usual = (() => {
  const name = '([A-Za-z][A-Za-z0-9_.-]*)';
  const bare =
    '(?:[0-9]+\\.[0-9]+\\.[0-9./]+|[0-9a-fA-F]+:[0-9a-fA-F:]*:[0-9a-fA-F:]*[0-9a-fA-F](?:/[0-9]+)?|[0-9a-fA-F]+:[0-9a-fA-F:]*:/[0-9]+)';
  const item = `(?:${bare}|"[0-9a-fA-F.:/]+")`;
  const list = `\\[ *(${item}(?:, +${item})*) *\\]`;
  const key = '\\n\\1  publicKey: (?:"([A-Za-z0-9+/]{43}=)"|([A-Za-z0-9+/]{43}=)) *';
  const site = `\\n\\1  site: ${name} *`;
  return new RegExp(
    `^( *)- name: ${name} *\\n\\1  addresses: ${list} *\\n\\1  podCIDRs: ${list} *(?:${key})?(?:${site})?\\s*$`,
  );
})();

/** Plain words that YAML reads as something else. */
const notText = /^(?:true|false|null)$/i;

const itemsOf = (list: string): string[] => list.split(',').map((item) => item.trim().replaceAll('"', ''));

/** What an entry says: a node as the document has it, unchecked. */
export function parseEntry(entry: string): unknown {
  const [, , name, addresses, podCIDRs, quotedKey, plainKey, site] = usual.exec(entry) ?? [];
  if (name !== undefined && !notText.test(name) && !notText.test(site ?? '')) {
    const publicKey = quotedKey ?? plainKey;
    const more = { ...(publicKey !== undefined && { publicKey }), ...(site !== undefined && { site }) };
    return { name, addresses: itemsOf(addresses!), podCIDRs: itemsOf(podCIDRs!), ...more };
  }
  const value = parseYaml(entry, 'entry');
  if (!Array.isArray(value) || value.length !== 1) throw new ConfigError([]);
  return value[0];
}

export class NodeList {
  #cut: Cut | undefined;
  readonly #values = new MappedList<string, unknown>();

  /** The document's value; throws ConfigError with line and column when it is not YAML. */
  parse(text: string, name: string): unknown {
    const parts = (this.#cut && cutAgain(text, this.#cut)) ?? cut(text);
    if (!parts) return parseYaml(text, name);
    const { entries } = parts;
    try {
      const nodes = this.#values.map(entries, parseEntry);
      const head = parseYaml(parts.head, name);
      this.#cut = parts;
      return { ...(isObject(head) && head), nodes };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return parseYaml(text, name); // for the places of its errors
    }
  }
}

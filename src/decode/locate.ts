/** Where the keys of a JSON text stand in it: JSON.parse tells no places, and keeps the last of two equal keys without a word. */

import { at } from '../decode.ts';

/** From 1, as editors count. */
export interface Place {
  line: number;
  column: number;
}

export interface Located {
  /** The place of a path such as `plugins[0].ipam.subnet`, or of the nearest thing around it that is there. */
  placeOf(path: string): Place;
  /** Paths of keys that their object has twice, in the order of the text. */
  readonly duplicates: readonly string[];
}

/** An object or list that is being read. */
interface Open {
  path: string;
  /** The index of the item being read; -1 in an object. */
  index: number;
  keys: Set<string>;
}

/** Nobody's configuration has more levels; a path for each of 100,000 would fill the memory. */
const maxDepth = 32;

const token = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],]|[^\s{}[\],:"]+/g;

/** The offset of every path of a text that JSON.parse takes. Paths in lower case: a decoder may spell a key in another one. */
function scan(text: string): { offsets: Map<string, number>; duplicates: string[] } {
  const offsets = new Map<string, number>();
  const duplicates: string[] = [];
  const open: Open[] = [];
  let path = '';
  let isKey = false;
  for (const { 0: word, index: offset } of text.matchAll(token)) {
    const place = open.at(-1);
    if (word === ',') {
      if (place && place.index >= 0) place.index++;
      isKey = place?.index === -1;
      continue;
    }
    if (word === '}' || word === ']') {
      open.pop();
      isKey = false;
      continue;
    }
    if (place && isKey) {
      isKey = false;
      if (open.length > maxDepth) continue;
      const key = JSON.parse(word) as string;
      path = at(place.path, key);
      if (place.keys.has(key)) duplicates.push(path);
      place.keys.add(key);
      // a key that is no word is named as `sysctl["net.core.x"]` too
      for (const name of [path, `${place.path}[${JSON.stringify(key)}]`]) offsets.set(name.toLowerCase(), offset);
      continue;
    }
    if (place && place.index >= 0 && open.length <= maxDepth) {
      path = `${place.path}[${place.index}]`;
      offsets.set(path.toLowerCase(), offset);
    }
    if (word === '{') open.push({ path, index: -1, keys: new Set() });
    else if (word === '[') open.push({ path, index: 0, keys: new Set() });
    isKey = word === '{';
  }
  return { offsets, duplicates };
}

/** The place of an offset. */
export function placeAt(text: string, offset: number): Place {
  const before = text.slice(0, offset).split('\n');
  return { line: before.length, column: before.at(-1)!.length + 1 };
}

/** Looks for the keys of a JSON text, one that JSON.parse takes. */
export function locate(text: string): Located {
  const { offsets, duplicates } = scan(text);
  return {
    duplicates,
    placeOf(path) {
      for (let rest = path.toLowerCase(); rest !== ''; rest = rest.replace(/(^|\.)[^.[\]]*$|\[[^[\]]*\]$|.$/, '')) {
        const offset = offsets.get(rest);
        if (offset !== undefined) return placeAt(text, offset);
      }
      return placeAt(text, Math.max(text.search(/\S/), 0));
    },
  };
}

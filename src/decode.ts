/**
 * Unknown JSON → typed values, every wrong field reported with its path, the value found and what was expected.
 * Used wherever a plugin reads a document: a schema library costs a fresh process half again its start-up time (docs/benchmarks.md).
 */

import { nearest } from './decode/nearest.ts';
import { ConfigError, type Problem } from './errors.ts';
import { type Address, parseAddress } from './net/address.ts';
import { type Prefix, parsePrefix } from './net/prefix.ts';

export type JsonObject = Record<string, unknown>;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A value as it stands in a message: JSON, at most 80 characters. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = typeof value === 'bigint' ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** The path of a key of the object at `path`. */
export const at = (path: string, key: string): string => (path === '' ? key : `${path}.${key}`);

/** What a decoder wants of a key that it asked for. */
export interface Asked {
  /** In the words of a message; empty where it only asked whether the key is there. */
  want: string;
  /** For objects and lists of them: the smallest value by which a reader gets to the keys inside. */
  inner?: unknown;
}

/**
 * What is odd but harmless, each beginning with the path it is about. Whoever wants to know more of a reading hands in the
 * collections to be filled: this record is the one list of a decoder's keys.
 */
export interface Notes extends Array<string> {
  /** Every key that was asked for, by path. */
  asked?: Map<string, Asked>;
  /** The keys of the document that were not, in place of a note on each; `want` is the nearest that was, or empty. */
  unknown?: Problem[];
}

/**
 * One JSON object being read. Each getter names a key, notes a problem when its value is wrong and then answers with nothing,
 * so that reading goes on and all problems are reported together. Absent and null are the same, as in Go.
 */
export class Fields {
  readonly path: string;
  readonly problems: Problem[];
  /** The object itself, for what no getter is for. */
  readonly value: JsonObject;
  readonly #known = new Set<string>();
  readonly #asked = new Set<string>();
  readonly #notes: Notes;

  constructor(value: JsonObject, path: string, problems: Problem[], notes: Notes) {
    this.path = path;
    this.problems = problems;
    this.value = value;
    this.#notes = notes;
  }

  /** Notes a problem with a key (or with the object itself, when the key is empty). */
  wrong(key: string, want: string, got: unknown = this.#find(key)): undefined {
    this.problems.push({ path: key === '' ? this.path : at(this.path, key), got: show(got), want });
    return undefined;
  }

  /** The value as it stands. A key in other case is taken too, with a note: Go's decoder, and so the reference plugins, accept it. */
  raw(key: string, want = '', inner?: unknown): unknown {
    this.#asked.add(key);
    const path = at(this.path, key);
    if (this.#notes.asked && !this.#notes.asked.get(path)?.want) {
      this.#notes.asked.set(path, inner === undefined ? { want } : { want, inner });
    }
    return this.#find(key);
  }

  #find(key: string): unknown {
    this.#known.add(key);
    if (Object.hasOwn(this.value, key)) return this.value[key] ?? undefined;
    const lower = key.toLowerCase();
    for (const other of Object.keys(this.value)) {
      if (other.toLowerCase() !== lower) continue;
      if (!this.#known.has(other)) this.#notes.push(`${at(this.path, other)}: the key is spelled "${key}"`);
      this.#known.add(other);
      return this.value[other] ?? undefined;
    }
    return undefined;
  }

  has(key: string): boolean {
    return this.raw(key) !== undefined;
  }

  string(key: string): string | undefined {
    const want = 'a string';
    const value = this.raw(key, want);
    if (value === undefined || typeof value === 'string') return value;
    return this.wrong(key, want);
  }

  boolean(key: string): boolean | undefined {
    const want = 'true or false';
    const value = this.raw(key, want);
    if (value === undefined || typeof value === 'boolean') return value;
    return this.wrong(key, want);
  }

  integer(key: string, min: number, max: number): number | undefined {
    const want = `a whole number from ${min} to ${max}`;
    const value = this.raw(key, want);
    if (value === undefined) return undefined;
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
    return this.wrong(key, want);
  }

  address(key: string): Address | undefined {
    return this.#parsed(key, parseAddress, 'an IPv4 or IPv6 address');
  }

  /** A prefix with its host bits kept. */
  prefix(key: string): Prefix | undefined {
    return this.#parsed(key, parsePrefix, 'an address with a prefix length such as "10.1.0.0/16"');
  }

  #parsed<T>(key: string, parse: (text: string) => T | undefined, want: string): T | undefined {
    const value = this.raw(key, want);
    if (value === undefined || value === '') return undefined;
    return (typeof value === 'string' ? parse(value) : undefined) ?? this.wrong(key, want);
  }

  object<T>(key: string, read: (fields: Fields) => T): T | undefined {
    const want = 'an object';
    const value = this.raw(key, want, {});
    if (value === undefined) return undefined;
    if (!isObject(value)) return this.wrong(key, want);
    return this.#nested(value, at(this.path, key), read);
  }

  /** The items of a list of objects; what reads as undefined is left out. */
  objects<T>(key: string, read: (fields: Fields) => T | undefined): T[] | undefined {
    return this.#list(key, 'a list of objects', [{}], (item, path) =>
      isObject(item) ? this.#nested(item, path, read) : this.#wrongItem(path, 'an object', item),
    );
  }

  /** The items of a list of lists of objects (host-local's `ranges`). */
  objectLists<T>(key: string, read: (fields: Fields) => T | undefined): T[][] | undefined {
    return this.#list(key, 'a list of lists of objects', [[{}]], (items, path) => {
      if (!Array.isArray(items)) return this.#wrongItem(path, 'a list of objects', items);
      return items.flatMap((item, i) => {
        const itemPath = `${path}[${i}]`;
        const value = isObject(item)
          ? this.#nested(item, itemPath, read)
          : this.#wrongItem(itemPath, 'an object', item);
        return value === undefined ? [] : [value];
      });
    });
  }

  strings(key: string): string[] | undefined {
    return this.#list(key, 'a list of strings', undefined, (item, path) =>
      typeof item === 'string' ? item : this.#wrongItem(path, 'a string', item),
    );
  }

  #list<T>(
    key: string,
    want: string,
    inner: unknown,
    read: (item: unknown, path: string) => T | undefined,
  ): T[] | undefined {
    const value = this.raw(key, want, inner);
    if (value === undefined) return undefined;
    if (!Array.isArray(value)) return this.wrong(key, want);
    return value.flatMap((item, i) => {
      const result = read(item, `${at(this.path, key)}[${i}]`);
      return result === undefined ? [] : [result];
    });
  }

  #wrongItem(path: string, want: string, got: unknown): undefined {
    this.problems.push({ path, got: show(got), want });
    return undefined;
  }

  #nested<T>(value: JsonObject, path: string, read: (fields: Fields) => T): T {
    const fields = new Fields(value, path, this.problems, this.#notes);
    const result = read(fields);
    fields.#noteUnknown();
    return result;
  }

  /** Keys that others own and we neither read nor remark on. */
  ignore(...keys: string[]): void {
    for (const key of keys) this.#known.add(key);
  }

  /** The same for every key that is not read. */
  ignoreRest(): void {
    this.ignore(...Object.keys(this.value));
  }

  #noteUnknown(): void {
    for (const key of Object.keys(this.value)) {
      if (this.#known.has(key)) continue;
      const path = at(this.path, key);
      const meant = nearest(key, this.#asked);
      if (this.#notes.unknown) this.#notes.unknown.push({ path, got: 'an unknown key', want: meant ?? '' });
      else this.#notes.push(`${path}: unknown key, ignored${meant === undefined ? '' : `; did you mean "${meant}"?`}`);
    }
  }

  /** Reads a whole document; throws ConfigError when anything in it was wrong. `notes` takes what is odd but harmless. */
  static read<T>(value: unknown, path: string, read: (fields: Fields) => T, notes: Notes = []): T {
    if (!isObject(value)) throw new ConfigError([{ path: path || 'document', got: show(value), want: 'an object' }]);
    const problems: Problem[] = [];
    const fields = new Fields(value, path, problems, notes);
    const result = read(fields);
    fields.#noteUnknown();
    if (problems.length > 0) throw new ConfigError(problems);
    return result;
  }
}

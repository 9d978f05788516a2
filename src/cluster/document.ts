/** YAML documents → values checked by a zod schema: every wrong field in our words, unknown keys as remarks with the nearest known one. */

import { parseDocument } from 'yaml';
import { z } from 'zod';
import { nearest } from '../decode/nearest.ts';
import { isObject, show } from '../decode.ts';
import { ConfigError, type Problem } from '../errors.ts';

/** "nodes[3].addresses[0]" */
const formatPath = (path: readonly PropertyKey[]): string =>
  path.map((key, i) => (typeof key === 'number' ? `[${key}]` : `${i === 0 ? '' : '.'}${String(key)}`)).join('');

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], value);
}

/** What an issue is about: a value, or keys that are wrong themselves. */
function foundIn(value: unknown, issue: z.core.$ZodIssue): unknown {
  if (issue.code === 'unrecognized_keys') return issue.keys.join(', ');
  return issue.code === 'invalid_key' ? issue.path.at(-1) : valueAt(value, issue.path);
}

/** The value as the schema types it; throws ConfigError naming every wrong field. A schema's messages say what was expected. */
export function check<T>(schema: z.ZodType<T>, value: unknown, path = ''): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new ConfigError(
    result.error.issues.map((issue) => {
      const at = formatPath(issue.path);
      return {
        path: `${path}${path && at && !at.startsWith('[') ? '.' : ''}${at}` || 'document',
        got: show(foundIn(value, issue)),
        want: (issue.code === 'invalid_key' && issue.issues[0]?.message) || issue.message,
      };
    }),
  );
}

/** The remark on a key that none of those known is. */
export function unknownKey(path: string, key: string, known: readonly string[]): string {
  const meant = nearest(key, known);
  const hint = meant === undefined ? `known are ${known.join(', ')}` : `did you mean "${meant}"?`;
  return `${path}: unknown key, ignored; ${hint}`;
}

function unwrap(schema: unknown): unknown {
  let inner = schema;
  while (inner instanceof z.ZodOptional || inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault) {
    inner = inner.unwrap();
  }
  return inner;
}

/** A remark for each key that the schema does not know. */
export function unknownKeys(schema: unknown, value: unknown, path = ''): string[] {
  const inner = unwrap(schema);
  if (inner instanceof z.ZodArray && Array.isArray(value)) {
    return value.flatMap((item, i) => unknownKeys(inner.element, item, `${path}[${i}]`));
  }
  if (!(inner instanceof z.ZodObject) || !isObject(value)) return [];
  const shape = inner.shape as Record<string, unknown>;
  return Object.entries(value).flatMap(([key, item]) => {
    const at = path === '' ? key : `${path}.${key}`;
    if (Object.hasOwn(shape, key)) return unknownKeys(shape[key], item, at);
    return [unknownKey(at, key, Object.keys(shape))];
  });
}

/** A document's value; throws ConfigError that names line and column. JSON is YAML, and much faster read as JSON. */
export function parseYaml(text: string, name: string): unknown {
  if (/^\s*[{[]/.test(text)) {
    try {
      return JSON.parse(text);
    } catch {
      // YAML's flow style looks the same from here
    }
  }
  const document = parseDocument(text, { prettyErrors: true, maxAliasCount: 100 } as never);
  if (document.errors.length === 0) return document.toJS();
  const problems: Problem[] = document.errors.map((error) => {
    const at = error.linePos?.[0];
    const path = at ? `${name}, line ${at.line}, column ${at.col}` : name;
    return { path, got: show(error.message.split('\n')[0]), want: 'YAML' };
  });
  throw new ConfigError(problems);
}

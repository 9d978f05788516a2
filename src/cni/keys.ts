/**
 * The keys of a plugin's configuration, as its own decoder asks for them. There is no second list: a configuration grows from
 * nothing until the decoder asks for no more.
 */

import { type Asked, isObject, type JsonObject, type Notes } from '../decode.ts';
import { protocolKeys } from './conf.ts';
import type { Plugin } from './skel.ts';
import type { Request } from './types.ts';
import { newestVersion } from './version.ts';

export interface Key {
  /** Such as `ipam.ranges[][].subnet`: any item of a list is `[]`. */
  readonly path: string;
  /** What it takes, in the words of a message. */
  readonly want: string;
}

/** A request as a runtime would make it of a plugin's configuration; nothing of it names anything that exists. */
export function requestOf(conf: JsonObject, command: Request['command'] = 'ADD'): Request {
  return {
    command,
    containerId: 'container',
    netns: '/run/netns/container',
    ifname: 'eth0',
    args: '',
    path: [],
    cniVersion: typeof conf['cniVersion'] === 'string' ? conf['cniVersion'] : newestVersion,
    name: typeof conf['name'] === 'string' ? conf['name'] : '',
    conf,
    stdin: JSON.stringify(conf),
    env: {},
  };
}

type Decoder = Pick<Plugin<never>, 'decode'>;

function askedBy({ decode }: Decoder, conf: JsonObject): Map<string, Asked> {
  const notes: Notes = Object.assign([] as string[], { asked: new Map<string, Asked>(), unknown: [] });
  try {
    decode(requestOf(conf), notes);
  } catch {
    // hardly a configuration that is right: what counts is what was asked for
  }
  return notes.asked!;
}

/** Puts a value where a path leads, if the way is there and nothing stands at its end. Answers whether it did. */
function put(conf: JsonObject, path: string, value: unknown): boolean {
  const steps = path.split(/\.|(?=\[)/).map((s) => (s.startsWith('[') ? Number(s.slice(1, -1)) : s));
  const last = steps.pop()!;
  let place: unknown = conf;
  for (const step of steps) place = isObject(place) || Array.isArray(place) ? (place as JsonObject)[step] : undefined;
  if (!isObject(place) || Object.hasOwn(place, last)) return false;
  place[last] = structuredClone(value);
  return true;
}

/** Every key that the plugin reads, in the order it asks. What belongs to the protocol is not among them, but for what is inside. */
export function keysOf(plugin: Decoder): Key[] {
  const conf: JsonObject = {};
  for (;;) {
    const asked = askedBy(plugin, conf);
    const inner = [...asked].filter(([path, a]) => a.inner !== undefined && put(conf, path, a.inner));
    // a key that a decoder only looks for: with a value there it tells what it wants
    const rest = inner.length > 0 ? [] : [...asked].filter(([path, a]) => a.want === '' && put(conf, path, ''));
    if (inner.length > 0 || rest.length > 0) continue;
    const protocol: readonly string[] = protocolKeys;
    return [...asked]
      .filter(([path]) => !protocol.includes(path))
      .map(([path, { want }]) => ({ path: path.replace(/\[\d+\]/g, '[]'), want }));
  }
}

/** The `capabilities` that a plugin takes, by what it reads of `runtimeConfig`. */
export const capabilitiesOf = (plugin: Decoder): string[] =>
  keysOf(plugin).flatMap(({ path }) => /^runtimeConfig\.([^.[]+)$/.exec(path)?.[1] ?? []);

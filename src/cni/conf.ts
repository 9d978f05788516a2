/** Standard input → the network configuration's protocol part, validated once; what is a plugin's own it decodes itself. */

import { isObject, type JsonObject, show } from '../decode.ts';
import { CniError, ConfigError, type Problem } from '../errors.ts';
import { isCniName } from '../net/name.ts';
import { code } from './error.ts';
import type { Command, Request, Result, ValidAttachment } from './types.ts';
import { atLeast, commandSince, decodeResult, isSupported, oldestVersion, supportedVersions } from './version.ts';

/** Keys of a plugin's configuration that the protocol or the runtime owns (spec section 1 and section 3, "Deriving"). */
export const protocolKeys = [
  'cniVersion',
  'cniVersions',
  'name',
  'type',
  'capabilities',
  'prevResult',
  'args',
  'runtimeConfig',
  'disableCheck',
  'disableGC',
  'cni.dev/valid-attachments',
  'cni.dev/attachments',
] as const;

export interface NetConf {
  cniVersion: string;
  name: string;
  conf: JsonObject;
}

/** The JSON of standard input. Throws CniError 6. */
export function parseConf(stdin: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(stdin);
  } catch (error) {
    throw new CniError(code.decoding, `standard input is not JSON: ${(error as Error).message}`, '', { cause: error });
  }
  if (!isObject(value)) throw new CniError(code.decoding, `standard input is not a JSON object but ${show(value)}`);
  return value;
}

/** The version a configuration names; without one it is the oldest. Throws CniError 6 when it is no text. */
export function confVersion(conf: JsonObject): string {
  const version = conf['cniVersion'] ?? '';
  if (typeof version !== 'string') throw new CniError(code.decoding, `cniVersion: got ${show(version)}, want a string`);
  return version === '' ? oldestVersion : version;
}

/** The protocol part. Throws CniError 1 (version), 6 (no JSON) or 7 (the network's name). */
export function readConf(stdin: string, command: Command): NetConf {
  const conf = parseConf(stdin);
  const name = conf['name'] ?? '';
  if (typeof name !== 'string') throw new CniError(code.decoding, `name: got ${show(name)}, want a string`);
  if (name === '') throw new CniError(code.invalidConfig, 'missing network name');
  if (!isCniName(name)) {
    throw new CniError(
      code.invalidConfig,
      'invalid characters found in network name',
      `name: got ${show(name)}, want letters, digits, "_", "." and "-", a letter or digit first`,
    );
  }
  const cniVersion = confVersion(conf);
  if (!isSupported(cniVersion)) {
    throw new CniError(
      code.incompatibleVersion,
      'incompatible CNI versions',
      `config is ${show(cniVersion)}, plugin supports ${JSON.stringify(supportedVersions)}`,
    );
  }
  if (!atLeast(cniVersion, commandSince[command])) {
    throw new CniError(
      code.incompatibleVersion,
      `config version does not allow ${command}`,
      `cniVersion: got "${cniVersion}", want ${commandSince[command]} or newer`,
    );
  }
  return { cniVersion, name, conf };
}

/** `prevResult` in the newest shape, or undefined when there is none. Throws ConfigError. */
export function readPrevResult(conf: JsonObject, cniVersion: string): Result | undefined {
  const value = conf['prevResult'] ?? undefined;
  return value === undefined ? undefined : decodeResult(value, cniVersion, 'prevResult');
}

/** `prevResult` for a verb that cannot do without. Throws ConfigError, or CniError 7 when there is none. */
export function requirePrevResult(request: Pick<Request, 'command' | 'conf' | 'cniVersion'>): Result {
  const previous = readPrevResult(request.conf, request.cniVersion);
  if (previous) return previous;
  if (request.command === 'CHECK') {
    throw new CniError(code.invalidConfig, 'Required prevResult missing', 'CHECK compares with the result of ADD');
  }
  const type = show(request.conf['type']);
  throw new CniError(
    code.invalidConfig,
    `Required prevResult missing: ${type} must be called as chained plugin`,
    'list it in "plugins" behind one that makes an interface, such as bridge',
  );
}

/**
 * `cni.dev/valid-attachments`. Absent and null are the empty list, as the specification's runtime leaves out an empty one: then
 * nothing is valid. Throws ConfigError: a list that cannot be read must free nothing.
 */
export function readValidAttachments(conf: JsonObject): ValidAttachment[] {
  const key = 'cni.dev/valid-attachments';
  const value = conf[key] ?? [];
  if (!Array.isArray(value)) throw new ConfigError([{ path: key, got: show(value), want: 'a list of objects' }]);
  const problems: Problem[] = [];
  const list = value.map((item: unknown, i): ValidAttachment => {
    const containerId = isObject(item) ? item['containerID'] : undefined;
    const ifname = isObject(item) ? item['ifname'] : undefined;
    if (typeof containerId !== 'string' || typeof ifname !== 'string') {
      problems.push({
        path: `${key}[${i}]`,
        got: show(item),
        want: 'an object with the strings containerID and ifname',
      });
      return { containerId: '', ifname: '' };
    }
    return { containerId, ifname };
  });
  if (problems.length > 0) throw new ConfigError(problems);
  return list;
}

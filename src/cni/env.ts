/** The CNI_* environment → parameters, validated once (spec section 2, "Parameters"). */

import { CniError } from '../errors.ts';
import { interfaceNameRule, isCniName, isInterfaceName } from '../net/name.ts';
import { code } from './error.ts';
import type { Command } from './types.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Parameters {
  command: Command;
  containerId: string;
  netns: string;
  ifname: string;
  args: string;
  path: string[];
}

/** What each command cannot do without. The runtime may leave out CNI_NETNS on DEL: the container is gone then. */
const required: Record<Command, readonly string[]> = {
  ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  DEL: ['CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_PATH'],
  GC: ['CNI_PATH'],
  STATUS: ['CNI_PATH'],
  VERSION: [],
};

const isCommand = (text: string): text is Command => Object.hasOwn(required, text);

const checks: Record<string, { valid: (value: string) => boolean; want: string }> = {
  CNI_CONTAINERID: { valid: isCniName, want: 'letters, digits, "_", "." and "-", a letter or digit first' },
  CNI_IFNAME: { valid: isInterfaceName, want: interfaceNameRule },
  // a path goes to nsenter and to ip as one argument; a line break or a NUL in it can only be an attack or an accident
  CNI_NETNS: { valid: (v) => !/[\u0000-\u001f\u007f]/.test(v), want: 'the path of a network namespace' },
};

/** Reads the parameters. Throws CniError 4 that names every variable that is missing or wrong. */
export function readParameters(env: Environment): Parameters {
  const command = env['CNI_COMMAND'] ?? '';
  if (command === '') throw new CniError(code.invalidEnvironment, 'required env variables [CNI_COMMAND] missing');
  if (!isCommand(command)) {
    throw new CniError(
      code.invalidEnvironment,
      `unknown CNI_COMMAND: "${command.slice(0, 40)}"`,
      `want one of ${Object.keys(required).join(', ')}`,
    );
  }
  const missing = required[command].filter((name) => !env[name]);
  if (missing.length > 0) {
    throw new CniError(code.invalidEnvironment, `required env variables [${missing.join(',')}] missing`);
  }
  const wrong = required[command].concat(command === 'DEL' ? ['CNI_NETNS'] : []).flatMap((name) => {
    const check = checks[name];
    const value = env[name] ?? '';
    return check && value !== '' && !check.valid(value)
      ? [`${name}: got ${JSON.stringify(value.slice(0, 80))}, want ${check.want}`]
      : [];
  });
  if (wrong.length > 0) throw new CniError(code.invalidEnvironment, `invalid env variables: ${wrong.join('; ')}`);
  return {
    command,
    containerId: env['CNI_CONTAINERID'] ?? '',
    netns: env['CNI_NETNS'] ?? '',
    ifname: env['CNI_IFNAME'] ?? '',
    args: env['CNI_ARGS'] ?? '',
    path: (env['CNI_PATH'] ?? '').split(':').filter((dir) => dir !== ''),
  };
}

/**
 * CNI_ARGS, "K=V;K2=V2": the values of the keys a plugin knows. Another key is an error unless IgnoreUnknown is true or 1
 * (spec section 3 leaves the meaning to plugins; this is libcni's). Throws CniError 4.
 */
export function readArgs(text: string, known: readonly string[]): Map<string, string> {
  const values = new Map<string, string>();
  if (text === '') return values;
  const unknown: string[] = [];
  for (const pair of text.split(';')) {
    const parts = pair.split('=');
    if (parts.length !== 2)
      throw new CniError(
        code.invalidEnvironment,
        `CNI_ARGS: invalid pair ${JSON.stringify(pair.slice(0, 80))}, want KEY=VALUE`,
      );
    const [key, value] = parts as [string, string];
    if (key === 'IgnoreUnknown' && !/^(1|0|true|false)$/i.test(value)) {
      throw new CniError(
        code.invalidEnvironment,
        `CNI_ARGS: IgnoreUnknown: got ${JSON.stringify(value.slice(0, 80))}, want true, false, 1 or 0`,
      );
    }
    if (key === 'IgnoreUnknown' || known.includes(key)) values.set(key, value);
    else unknown.push(key);
  }
  if (unknown.length > 0 && !/^(1|true)$/i.test(values.get('IgnoreUnknown') ?? '')) {
    throw new CniError(
      code.invalidEnvironment,
      `CNI_ARGS: unknown args ${JSON.stringify(unknown.map((k) => k.slice(0, 80)))}: remove them or add "IgnoreUnknown=1"`,
    );
  }
  return values;
}

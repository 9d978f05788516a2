/** Malformed input for each plugin, and the judgement on what came back. */

import { plugins } from '../../plugins/plugins.ts';
import { isObject } from '../../src/decode.ts';
import { confine, goodConf, type Scratch } from './good-conf.ts';
import type { Input, Malformer } from './malformed.ts';
import { binDir } from './netns.ts';

export const pluginNames = [...plugins.keys()];

/** The text with its paths in the test's scratch; as it is where it is no document. */
function confined(stdin: string, scratch: Scratch): string {
  try {
    const document: unknown = JSON.parse(stdin);
    if (!isObject(document)) return stdin;
    confine(document, scratch);
    return JSON.stringify(document);
  } catch {
    return stdin;
  }
}

export function malformedInput(make: Malformer, plugin: string, { pod, ...scratch }: Scratch & { pod: string }): Input {
  const good = {
    CNI_COMMAND: make.pick(['ADD', 'ADD', 'ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION']),
    CNI_CONTAINERID: 'c1',
    CNI_NETNS: pod,
    CNI_IFNAME: 'eth0',
    CNI_PATH: binDir,
    CNI_ARGS: 'IgnoreUnknown=1;MAC=02:00:00:00:00:03',
  };
  return { env: make.variables(good), stdin: confined(make.text(goodConf(plugin, scratch)), scratch) };
}

/** One document or nothing; an error is an error object, and never an internal one. Answers the error's code, or undefined. */
export function judge(exit: number | null, stdout: string): number | undefined {
  if (exit === 0) {
    if (stdout !== '') JSON.parse(stdout);
    return undefined;
  }
  if (exit !== 1) throw new Error(exit === null ? 'hangs' : `exit ${exit}`);
  const error: unknown = JSON.parse(stdout);
  if (
    !isObject(error) ||
    typeof error['code'] !== 'number' ||
    typeof error['msg'] !== 'string' ||
    error['msg'] === ''
  ) {
    throw new Error(`no error object: ${stdout.slice(0, 300)}`);
  }
  if (error['code'] === 999) throw new Error(`internal error: ${stdout.slice(0, 600)}`);
  return error['code'];
}

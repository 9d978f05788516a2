/**
 * The lab as a container runtime: executes the plugins of a network configuration list in the order and with the documents
 * that the specification asks of a runtime (CNI spec 1.1.0, section 3; the result is kept as libcni keeps it).
 */

import { atLeast, commandSince } from '../cni/version.ts';
import { isObject, type JsonObject } from '../decode.ts';

/** A network configuration list (spec section 1) as it stands in a .conflist file. */
export interface ConfList {
  cniVersion: string;
  name: string;
  plugins: (JsonObject & { type: string })[];
  disableCheck: boolean;
  disableGC: boolean;
}

export interface Container {
  id: string;
  /** Path of its network namespace; empty when it is gone. */
  netns: string;
  ifname: string;
}

/** What a runtime remembers of an attachment: the list it was made with and what came of it. */
export interface Attachment {
  container: Container;
  confList: ConfList;
  /** What ADD answered; undefined while it has not. */
  result: JsonObject | undefined;
}

export interface Execution {
  type: string;
  env: Record<string, string>;
  stdin: string;
}

export interface Executed {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** Runs a plugin's executable where the node is; how is the caller's business. */
export type ExecPlugin = (execution: Execution) => Promise<Executed>;

/** A plugin that ended with an error, in the words of its error object. */
export class PluginError extends Error {
  constructor(type: string, command: string, { exitCode, stdout, stderr }: Executed) {
    super(
      `plugin "${type}": ${command}: ${errorText(stdout) ?? `exit code ${exitCode}: ${(stderr || stdout).trim()}`}`,
    );
    this.name = 'PluginError';
  }
}

function errorText(stdout: string): string | undefined {
  try {
    const value: unknown = JSON.parse(stdout);
    if (!isObject(value) || value['msg'] === undefined) return undefined;
    return `${value['msg']}${value['details'] ? `: ${value['details']}` : ''} (code ${value['code']})`;
  } catch {
    return undefined;
  }
}

/** A list from a file's text. Throws an Error that says what is missing. */
export function parseConfList(text: string): ConfList {
  const value: unknown = JSON.parse(text);
  if (!isObject(value) || typeof value['name'] !== 'string') throw new Error('network configuration list: no name');
  const plugins = value['plugins'];
  const isPlugin = (p: unknown): p is JsonObject & { type: string } => isObject(p) && typeof p['type'] === 'string';
  if (!Array.isArray(plugins) || plugins.length === 0 || !plugins.every(isPlugin))
    throw new Error('network configuration list: plugins: want a list of objects with a type');
  return {
    cniVersion: String(value['cniVersion'] ?? '0.1.0'),
    name: value['name'],
    plugins,
    disableCheck: value['disableCheck'] === true,
    disableGC: value['disableGC'] === true,
  };
}

type Verb = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS';

/** One plugin's configuration: its own keys, the list's name and version, and what this call adds. */
const confOf = (list: ConfList, plugin: JsonObject, extra: JsonObject): string =>
  JSON.stringify({ ...plugin, name: list.name, cniVersion: list.cniVersion, ...extra });

const previous = (result: JsonObject | undefined): JsonObject => (result ? { prevResult: result } : {});

export interface Runtime {
  /** Attaches a container. When a plugin fails, the whole list is told to DEL before PluginError is thrown. */
  add(list: ConfList, container: Container): Promise<Attachment>;
  check(attachment: Attachment): Promise<void>;
  del(attachment: Attachment): Promise<void>;
  /** Tells the list which attachments are alive, where its version has GC; what else the plugins find they may free. */
  gc(list: ConfList, alive: readonly Container[]): Promise<void>;
}

/** A runtime that finds plugins in `cniPath`. */
export function createRuntime(exec: ExecPlugin, cniPath: string): Runtime {
  async function call(
    list: ConfList,
    plugin: ConfList['plugins'][number],
    verb: Verb,
    c: Container | undefined,
    extra: JsonObject,
  ) {
    const { type } = plugin;
    const env: Record<string, string> = { CNI_COMMAND: verb, CNI_PATH: cniPath };
    if (c) Object.assign(env, { CNI_CONTAINERID: c.id, CNI_NETNS: c.netns, CNI_IFNAME: c.ifname });
    const executed = await exec({ type, env, stdin: confOf(list, plugin, extra) });
    if (executed.exitCode !== 0) throw new PluginError(type, verb, executed);
    return executed.stdout;
  }

  async function del({ confList, container, result }: Attachment): Promise<void> {
    for (const plugin of confList.plugins.toReversed())
      await call(confList, plugin, 'DEL', container, previous(result));
  }

  return {
    async add(confList, container) {
      let result: JsonObject | undefined;
      try {
        for (const plugin of confList.plugins) {
          result = JSON.parse(await call(confList, plugin, 'ADD', container, previous(result))) as JsonObject;
        }
      } catch (error) {
        // an ADD that failed may have left something: the specification has the runtime say DEL; the ADD's error is the one to tell
        await del({ confList, container, result }).catch(() => {});
        throw error;
      }
      return { container, confList, result };
    },
    del,
    async check({ confList, container, result }) {
      if (confList.disableCheck || !atLeast(confList.cniVersion, commandSince.CHECK)) return;
      for (const plugin of confList.plugins) await call(confList, plugin, 'CHECK', container, previous(result));
    },
    async gc(list, alive) {
      if (list.disableGC || !atLeast(list.cniVersion, commandSince.GC)) return;
      const extra = { 'cni.dev/valid-attachments': alive.map((c) => ({ containerID: c.id, ifname: c.ifname })) };
      for (const plugin of list.plugins) await call(list, plugin, 'GC', undefined, extra);
    },
  };
}

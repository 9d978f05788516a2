/** A chain through cnitool, which is libcni: one process more, and the same one for every suite. */

import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Conf } from './networks.ts';
import { demand, type Suite } from './suite.ts';

export interface Chain {
  readonly suite: Suite;
  readonly chain: readonly Conf[];
  /** The container's network namespace; its path is what cnitool names the container after. */
  readonly netns: string;
}

const settingsOf = (conf: Conf): object => (conf['runtimeConfig'] as object | undefined) ?? {};

/** As a network configuration list, which asks a runtime for what the chain's plugins were given. */
function listOf(chain: readonly Conf[]): object {
  const [{ cniVersion, name }] = chain as [Conf];
  const plugins = chain.map((conf) => {
    const { runtimeConfig: _given, cniVersion: _version, name: _name, ...keys } = conf;
    const capabilities = Object.fromEntries(Object.keys(settingsOf(conf)).map((key) => [key, true]));
    return { ...keys, capabilities };
  });
  return { cniVersion, name, plugins };
}

/** Answers the milliseconds of one verb for the whole chain. `dir` is for the list. */
export function runCnitool(cnitool: string, dir: string, { suite, chain, netns }: Chain, command: string): number {
  const folder = join(dir, 'net.d');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, '10.conflist'), JSON.stringify(listOf(chain)));
  const env = {
    PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin',
    CNI_PATH: suite.dir,
    NETCONFPATH: folder,
    CAP_ARGS: JSON.stringify(Object.assign({}, ...chain.map(settingsOf))),
  };
  const started = performance.now();
  const r = spawnSync(cnitool, [command.toLowerCase(), String(chain[0]!['name']), netns], { encoding: 'utf8', env });
  const ms = performance.now() - started;
  demand(`${suite.label}: cnitool ${command}`, r);
  return ms;
}

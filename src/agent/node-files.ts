/** What the agent leaves for the runtime and the `culvert` plugin: the node file, then, last, the network configuration list. */

import { mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type NodePlan, podBridge } from '../plan/node.ts';
import { wantedName } from '../serve/serve.ts';
import { readIfThere, writeDocument } from '../store/files.ts';
import type { AgentConfig } from './config.ts';

export const conflistName = '10-culvert.conflist';

export const nodeFileIn = (run: string): string => join(run, 'node.json');

/** The name of the cluster's network, and so of the folder its leases are in. */
export const conflistNetwork = 'culvert';

/** What the plugin has to know of its node. */
export const nodeDocument = (config: AgentConfig, plan: NodePlan): object => ({
  node: config.node,
  network: conflistNetwork,
  mode: config.mode,
  attach: config.attach,
  podCIDRs: plan.own.podCIDRs.map((p) => p.text),
  addresses: plan.own.addresses.map((a) => a.text),
  mtu: plan.mtuBytes,
  dataDir: config.paths.leases,
  bridge: podBridge,
});

/** What the plugin takes of a runtime. */
const capabilities = { bandwidth: true, dns: true, ips: true, mac: true, portMappings: true };

export const conflist = (nodeFile: string): object => ({
  cniVersion: '1.0.0',
  cniVersions: ['0.4.0', '1.0.0', '1.1.0'],
  name: conflistNetwork,
  plugins: [{ type: 'culvert', nodeFile, capabilities }],
});

/** Other network configurations of the folder: a runtime uses the first by name, be it ours or not. */
export function otherConflists(folder: string): { before: string[]; after: string[] } {
  let names: string[] = [];
  try {
    names = readdirSync(folder).filter((name) => /\.(conf|conflist|json)$/.test(name) && name !== conflistName);
  } catch {
    // no folder, nothing in it
  }
  names.sort();
  return { before: names.filter((n) => n < conflistName), after: names.filter((n) => n > conflistName) };
}

/** Writes both files where they differ; the node can attach pods from here on. Answers the files written. */
export function writeNodeFiles(config: AgentConfig, plan: NodePlan): string[] {
  const nodeFile = nodeFileIn(config.paths.run);
  const list = join(config.paths.cniConf, conflistName);
  return [
    ...(writeDocument(nodeFile, nodeDocument(config, plan)) ? [nodeFile] : []),
    ...(writeDocument(list, conflist(nodeFile)) ? [list] : []),
  ];
}

/** Of `culvert serve`: its sockets, and what asks for it (src/serve/shim.c looks in /run/culvert). */
export const serveFolderIn = (run: string): string => join(run, 'serve');

/** Asks whatever a runtime executes next to start `culvert serve`, or whoever was started so to end. */
export function askForServe({ serve, paths }: Pick<AgentConfig, 'serve' | 'paths'>): void {
  const folder = serveFolderIn(paths.run);
  const wanted = join(folder, wantedName);
  if (!serve) {
    rmSync(wanted, { force: true });
    return;
  }
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeFileSync(wanted, '', { mode: 0o600 });
  utimesSync(wanted, 0, 0); // when it was tried last
}

/** Tells plugins why this node cannot attach pods, unless it once could: then they go on as before. */
export function writeNotReady(config: AgentConfig, notReady: string): void {
  const file = nodeFileIn(config.paths.run);
  const text = readIfThere(file);
  if (text === undefined || text.includes('"notReady"')) writeDocument(file, { node: config.node, notReady });
}

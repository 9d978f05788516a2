/** What the agent leaves for the runtime and the `culvert` plugin: the node file, then, last, the network configuration list. */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { NodePlan } from '../plan/node.ts';
import { readIfThere, replaceIfOther } from '../store/files.ts';
import type { AgentConfig } from './config.ts';

export const conflistName = '10-culvert.conflist';

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
  bridge: 'culvert0',
});

/** What the plugin takes of a runtime. */
const capabilities = { bandwidth: true, dns: true, ips: true, mac: true, portMappings: true };

export const conflist = (nodeFile: string): object => ({
  cniVersion: '1.0.0',
  cniVersions: ['0.4.0', '1.0.0', '1.1.0'],
  name: conflistNetwork,
  plugins: [{ type: 'culvert', nodeFile, capabilities }],
});

export const writeDocument = (file: string, document: object): boolean =>
  replaceIfOther(file, `${JSON.stringify(document, null, 2)}\n`);

/** Another network configuration that a runtime would take instead of ours: it uses the first by name. */
export function conflistBefore(folder: string): string | undefined {
  try {
    return readdirSync(folder)
      .filter((name) => /\.(conf|conflist|json)$/.test(name) && !name.startsWith('.'))
      .sort()
      .find((name) => name < conflistName);
  } catch {
    return undefined;
  }
}

/** Writes both files where they differ; the node can attach pods from here on. Answers the files written. */
export function writeNodeFiles(config: AgentConfig, plan: NodePlan): string[] {
  const nodeFile = join(config.paths.run, 'node.json');
  const list = join(config.paths.cniConf, conflistName);
  return [
    ...(writeDocument(nodeFile, nodeDocument(config, plan)) ? [nodeFile] : []),
    ...(writeDocument(list, conflist(nodeFile)) ? [list] : []),
  ];
}

/** Tells plugins why this node cannot attach pods, unless it once could: then they go on as before. */
export function writeNotReady(config: AgentConfig, notReady: string): void {
  const file = join(config.paths.run, 'node.json');
  const text = readIfThere(file);
  if (text === undefined || text.includes('"notReady"')) writeDocument(file, { node: config.node, notReady });
}

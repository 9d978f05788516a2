/** Where the cluster's nodes come from, as the configuration has it. */

import { join } from 'node:path';
import { type ClusterSource, FileSource } from '../cluster/file.ts';
import type { KubernetesPlace } from '../cluster/kubernetes/cluster.ts';
import { KubernetesSource } from '../cluster/kubernetes/source.ts';
import { defaultNamespace } from '../cluster/schema.ts';
import { replaceIfOther } from '../store/files.ts';
import { ensurePublicKey } from '../store/keys.ts';
import type { AgentConfig } from './config.ts';
import { privateKeyFile } from './keys.ts';
import type { Log } from './log.ts';

/** Where the agent keeps what it saw of a cluster that is no file. */
export const seenClusterFile = (state: string): string => join(state, 'cluster.json');

/** The cluster file; where the source is another, what the agent last saw of it, in that form. */
export const clusterFile = ({ cluster, paths }: AgentConfig): string =>
  cluster.source === 'file' ? cluster.file : seenClusterFile(paths.state);

/** Where a cluster is that the API server has. */
export const placeOf = ({
  kubeconfig,
  namespace,
}: Partial<Pick<AgentConfig['cluster'], 'kubeconfig' | 'namespace'>>): KubernetesPlace => ({
  kubeconfig,
  namespace: namespace ?? (process.env['POD_NAMESPACE'] || defaultNamespace),
});

export function createSource(config: AgentConfig, log: Log): ClusterSource {
  const file = clusterFile(config);
  if (config.cluster.source === 'file') return new FileSource(file);
  return new KubernetesSource({
    ...placeOf(config.cluster),
    node: config.node,
    // whatever the mode: all have to have it before the mode can become wireguard
    publicKey: ensurePublicKey(privateKeyFile(config)),
    file,
    save: replaceIfOther,
    log,
  });
}

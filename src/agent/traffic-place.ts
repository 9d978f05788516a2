/** The places where a cluster's traffic is said, as `culvert mode` reads and writes them: a cluster file, a ConfigMap. */

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { withTrafficText } from '../cluster/edit.ts';
import { FileSource } from '../cluster/file.ts';
import { KubernetesCluster, type KubernetesPlace } from '../cluster/kubernetes/cluster.ts';
import { annotations } from '../cluster/kubernetes/node.ts';
import { replaceFile } from '../store/files.ts';
import { ChangeError, otherHand, type TrafficPlace } from './mode-change.ts';

/** Has to be closed after use. */
export type OpenPlace = TrafficPlace & AsyncDisposable;

/** `publish` is the shell command that takes the file to the nodes. */
export function fileTraffic(file: string, publish: string | undefined): OpenPlace {
  const source = new FileSource(file);
  return {
    title: 'cluster file',
    keyHint: 'run "culvert keys" on each and add the line it prints',
    read: () => source.read(),
    async write(traffic) {
      replaceFile(file, withTrafficText(readFileSync(file, 'utf8'), traffic, file));
      if (publish === undefined) return;
      await promisify(execFile)('sh', ['-c', publish], { env: { ...process.env, CULVERT_CLUSTER_FILE: file } });
    },
    async [Symbol.asyncDispose]() {},
  };
}

/** The ConfigMap of a cluster that is followed. */
export function mapTraffic(cluster: KubernetesCluster): TrafficPlace {
  const { title } = cluster.traffic;
  return {
    title,
    keyHint: `their agents have yet to write the annotation ${annotations.publicKey}`,
    read() {
      if (cluster.traffic.error) throw cluster.traffic.error;
      return cluster.look()!.view;
    },
    async write(traffic) {
      let isWritten: boolean;
      try {
        isWritten = await cluster.traffic.write(traffic);
      } catch (error) {
        throw new ChangeError(`cannot write the ${title}: ${(error as Error).message}`, { cause: error });
      }
      if (!isWritten) throw otherHand(title);
    },
  };
}

/** Answers when the cluster has been seen; throws what keeps it from being seen. */
export async function kubernetesTraffic(at: KubernetesPlace): Promise<OpenPlace> {
  const stop = new AbortController();
  const { promise: seen, resolve, reject } = Promise.withResolvers<void>();
  const cluster: KubernetesCluster = new KubernetesCluster({
    ...at,
    changed: () => {
      const why = cluster.traffic.error ?? (cluster.outage && new Error(cluster.outage));
      if (why) reject(why);
      else if (cluster.look()) resolve();
    },
  });
  cluster.follow(stop.signal);
  try {
    await seen;
  } catch (error) {
    stop.abort();
    throw error;
  }
  return { ...mapTraffic(cluster), [Symbol.asyncDispose]: async () => stop.abort() };
}

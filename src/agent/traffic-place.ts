/** The places where a cluster's traffic is said, as `culvert mode` reads and writes them: a cluster file, a ConfigMap. */

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { withTrafficText } from '../cluster/edit.ts';
import { FileSource } from '../cluster/file.ts';
import { KubernetesCluster, type KubernetesPlace } from '../cluster/kubernetes/cluster.ts';
import { annotations } from '../cluster/kubernetes/node.ts';
import { type TrafficMap, wishData } from '../cluster/kubernetes/traffic-map.ts';
import { dueOf, formatTraffic, isTakenBack, type Said } from '../plan/change.ts';
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
    remarks: () => [],
    async [Symbol.asyncDispose]() {},
  };
}

/** What is wanted of a cluster and is not so; nothing: all is as wanted. */
export function wishOf(said: Said): string | undefined {
  const { wanted, takenBack } = said;
  if (!wanted) return undefined;
  if (isTakenBack(said)) {
    return `${formatTraffic(wanted)} is wanted, and was taken back: ${takenBack!.because}; write another mode there, or take takenBack out for another try`;
  }
  return dueOf(said) && `${formatTraffic(wanted)} is wanted; the agent of the first node brings that about`;
}

/** Writes these keys of the ConfigMap; throws ChangeError when that fails. */
export async function writeMap({ traffic: map }: KubernetesCluster, data: Parameters<TrafficMap['write']>[0]) {
  let isWritten: boolean;
  try {
    isWritten = await map.write(data);
  } catch (error) {
    throw new ChangeError(`cannot write the ${map.title}: ${(error as Error).message}`, { cause: error });
  }
  if (!isWritten) throw otherHand(map.title);
}

/**
 * The ConfigMap of a cluster that is followed. Two must not drive at a time: while a change by hand is on its way nothing is wanted
 * of the agents, and in the end what there is.
 */
export function mapTraffic(cluster: KubernetesCluster): TrafficPlace {
  const { traffic: map } = cluster;
  return {
    title: map.title,
    keyHint: `their agents have yet to write the annotation ${annotations.publicKey}`,
    read() {
      if (map.error) throw map.error;
      return cluster.look()!.view;
    },
    write(traffic) {
      const wish = wishData(traffic.alsoAccept ? undefined : traffic);
      return writeMap(cluster, { traffic: JSON.stringify(traffic), ...wish, takenBack: null });
    },
    remarks: () => [...map.notes, wishOf(map.said)].filter((text) => text !== undefined),
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

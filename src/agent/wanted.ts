/**
 * Takes a cluster of Kubernetes to what people have written into its ConfigMap. Every node has to confirm every step, so there is
 * nothing to elect: the agent of the first node drives, for while that one is down no change gets through anyway. It goes on, when
 * it starts again, from the step that the ConfigMap says. What did not get through is written down, and not tried again.
 */

import type { KubernetesCluster } from '../cluster/kubernetes/cluster.ts';
import { ConfigError } from '../errors.ts';
import { dueOf, formatTraffic, isTakenBack, sameTraffic } from '../plan/change.ts';
import type { ClusterView, Traffic } from '../plan/cluster.ts';
import { askNode } from './ask.ts';
import type { Log } from './log.ts';
import { askAll, ChangeError, changeTraffic, silentOf, type TrafficPlace } from './mode-change.ts';
import { pause, type Task } from './task.ts';
import { mapTraffic, wishOf, writeMap } from './traffic-place.ts';

export interface WantedParts {
  readonly cluster: KubernetesCluster;
  /** This node's name. */
  readonly node: string;
  /** Where agents answer. */
  readonly port: number;
  /** What there is to say has changed. */
  readonly changed: () => void;
  readonly log: Log;
}

const everyMs = 1000;
/** After what could not be begun. */
const againMs = 10_000;
/** For one step to be confirmed. */
const timeoutMs = 30_000;

/** What was begun is not to be gone on with, by us. */
class NoLonger extends Error {}

export class WantedTraffic implements Task {
  readonly name = 'wanted traffic';
  readonly #parts: WantedParts;
  /** Why nothing could be begun. */
  #obstacle: string | undefined;

  constructor(parts: WantedParts) {
    this.#parts = parts;
  }

  notReady(): undefined {
    return undefined;
  }

  get problems(): string[] {
    const { traffic: map } = this.#parts.cluster;
    if (isTakenBack(map.said)) return [`${map.title}: ${wishOf(map.said)}`];
    return this.#obstacle === undefined ? [] : [this.#obstacle];
  }

  /** What was taken back, for people who look at the cluster: its first node tells them. */
  get takenBack(): string[] {
    const { cluster, node } = this.#parts;
    const isOurs = cluster.look()?.view.nodes[0]?.name === node;
    return isOurs && isTakenBack(cluster.traffic.said) ? this.problems : [];
  }

  async run(signal: AbortSignal): Promise<void> {
    for (; !signal.aborted; await pause(this.#obstacle === undefined ? everyMs : againMs, signal)) {
      const { cluster, node } = this.#parts;
      // a wrong ConfigMap is not what anybody wants
      const target = cluster.traffic.error ? undefined : dueOf(cluster.traffic.said);
      const view = cluster.look()?.view;
      const isOurs = target && view?.nodes[0]?.name === node;
      const was = this.#obstacle;
      this.#obstacle = isOurs ? await this.#drive(target, view, signal) : undefined;
      if (this.#obstacle !== was) this.#parts.changed();
    }
  }

  /** Answers why nothing could be begun. */
  async #drive(target: Traffic, view: ClusterView, signal: AbortSignal): Promise<string | undefined> {
    const { cluster, port, log } = this.#parts;
    const ask = (node: ClusterView['nodes'][number]) => askNode(node, port);
    const isWanted = `${cluster.traffic.title}: ${formatTraffic(target)} is wanted, and cannot be had yet`;
    try {
      const silent = silentOf(view.nodes, await askAll(view.nodes, ask));
      if (silent.length > 0) return `${isWanted}: ${silent.slice(0, 3).join('; ')}`;
      const say = (step: string): void => log('info', 'traffic', { step: step.trim() });
      const parts = { place: this.#place(signal), ask, say, timeoutMs, probe: true, settleMs: 1000 };
      const lacks = await changeTraffic(target, parts);
      if (lacks.length > 0) await this.#giveUp(lacks);
      return undefined;
    } catch (error) {
      if (error instanceof NoLonger) return undefined;
      if (!(error instanceof ChangeError || error instanceof ConfigError)) throw error;
      return `${isWanted}: ${error.message}`;
    }
  }

  /** For as long as we run and the same is wanted. */
  #place(signal: AbortSignal): TrafficPlace {
    const { cluster } = this.#parts;
    const place = mapTraffic(cluster);
    const asked = cluster.traffic.said.wanted!;
    return {
      ...place,
      read() {
        const view = place.read();
        const { wanted } = cluster.traffic.said;
        if (signal.aborted || !wanted || !sameTraffic(wanted, asked)) throw new NoLonger();
        return view;
      },
      write: (traffic) => writeMap(cluster, { traffic: JSON.stringify(traffic) }),
    };
  }

  async #giveUp(lacks: readonly string[]): Promise<void> {
    const { cluster, changed } = this.#parts;
    const { said } = cluster.traffic;
    // every node carries it, and some have not dropped the old way yet: that they do by themselves
    if (!dueOf(said)) return;
    const more = lacks.length > 1 ? `, and ${lacks.length - 1} more` : '';
    const because = `${lacks[0]!.replaceAll(/\s+/g, ' ')}${more}`;
    await writeMap(cluster, { takenBack: JSON.stringify({ wanted: said.wanted, because }) });
    changed();
  }
}

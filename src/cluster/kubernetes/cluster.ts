/** A cluster as its API server has it: its Nodes, and the ConfigMap with its traffic; both are followed. */

import type { ClusterView } from '../../plan/cluster.ts';
import { digestOf } from '../file.ts';
import { Api } from './api.ts';
import { type Follower, follow } from './follow.ts';
import { agentLogin } from './login.ts';
import { type FoundNode, type NodeObject, readNode } from './node.ts';
import { Outage } from './outage.ts';
import { TrafficMap } from './traffic-map.ts';
import { type Judged, NodeJudge } from './view.ts';

export interface KubernetesPlace {
  /** Without one: the pod's service account. */
  readonly kubeconfig: string | undefined;
  /** Where the agents are, and so the ConfigMap. */
  readonly namespace: string;
}

/** The cluster at a time. */
export interface Seen extends Pick<Judged, 'leftOut'> {
  readonly view: ClusterView;
  /** The view as a cluster file: the same bytes wherever the same is seen, in whatever order it was learnt. */
  readonly text: string;
  readonly found: ReadonlyMap<string, FoundNode>;
}

/** Of what was found in whatever order. */
export function seenOf(found: ReadonlyMap<string, FoundNode>, traffic: ClusterView['traffic'], judge: NodeJudge): Seen {
  const { nodes, leftOut } = judge.judge(found.values());
  const document = { ...(traffic && { traffic }), nodes: nodes.map(({ name }) => found.get(name)!.entry) };
  const text = `${JSON.stringify(document, null, 2)}\n`;
  return { view: { ...(traffic && { traffic }), nodes, digest: digestOf(text) }, text, found, leftOut };
}

export interface KubernetesClusterParts extends KubernetesPlace {
  /** What `look` answers may be another. */
  readonly changed: () => void;
  /** A Node on its way in. */
  readonly take?: (node: FoundNode) => FoundNode;
}

export class KubernetesCluster implements Follower<FoundNode> {
  readonly api: Api;
  readonly traffic: TrafficMap;
  readonly #outage: Outage;
  readonly #judge = new NodeJudge();
  readonly #changed: () => void;
  readonly #take: (node: FoundNode) => FoundNode;
  /** Nothing before the first list. */
  #nodes: Map<string, FoundNode> | undefined;
  #seen: Seen | undefined;

  constructor({ kubeconfig, namespace, changed, take = (node) => node }: KubernetesClusterParts) {
    this.#changed = changed;
    this.#take = take;
    this.api = new Api(agentLogin(kubeconfig), 'culvert-agent');
    this.#outage = new Outage(this.api);
    this.traffic = new TrafficMap(this.api, namespace, () => this.#news());
  }

  follow(signal: AbortSignal): void {
    void follow(this.api, { path: '/api/v1/nodes', keep: (node: NodeObject) => readNode(node) }, this, signal);
    this.traffic.follow(signal);
  }

  /** Why what is seen is not of now. */
  get outage(): string | undefined {
    return this.#outage.text ?? this.traffic.outage.text;
  }

  /** Nothing before all has been seen once. */
  look(): Seen | undefined {
    if (this.#nodes && this.traffic.isKnown) this.#seen ??= seenOf(this.#nodes, this.traffic.said.traffic, this.#judge);
    return this.#seen;
  }

  #news(): void {
    this.#seen = undefined;
    this.#changed();
  }

  replace(nodes: ReadonlyMap<string, FoundNode>): void {
    this.#nodes = new Map([...nodes].map(([name, node]) => [name, this.#take(node)]));
    this.#news();
  }

  put(name: string, node: FoundNode): void {
    const next = this.#take(node);
    const isSame = JSON.stringify(this.#nodes?.get(name)) === JSON.stringify(next);
    if (isSame) return; // most are heartbeats
    this.#nodes?.set(name, next);
    this.#news();
  }

  drop(name: string): void {
    if (this.#nodes?.delete(name)) this.#news();
  }

  answered(): void {
    if (this.#outage.ended()) this.#changed();
  }

  failed(error: Error): void {
    if (this.#outage.begun(error)) this.#changed();
  }
}

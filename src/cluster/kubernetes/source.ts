/**
 * The cluster view from Node objects. What was seen last is kept in a file, in the form of a cluster file, and is in force while the
 * API server does not answer. This node's own WireGuard key goes the other way, to an annotation of its Node.
 */

import { ConfigError, type Problem } from '../../errors.ts';
import type { ClusterView } from '../../plan/cluster.ts';
import { type ClusterSource, FileSource } from '../file.ts';
import { KubernetesCluster, type KubernetesPlace, type Seen } from './cluster.ts';
import { Events } from './events.ts';
import { type FoundNode, withPublicKey } from './node.ts';
import { OwnNode } from './own-node.ts';

export interface KubernetesParts extends KubernetesPlace {
  /** This node's name. */
  readonly node: string;
  readonly publicKey: string;
  /** Where the cluster is kept for times without an API server, and how it gets there: whole or not at all. */
  readonly file: string;
  readonly save: (file: string, text: string) => void;
  readonly log: (level: 'info' | 'warn', msg: string, fields?: Readonly<Record<string, unknown>>) => void;
}

/** So long an agent that starts waits for the first answer, before it takes what is on disk. */
const patienceMs = 3000;
/** Nodes of a growing cluster come one by one: they are written down together. */
const saveMs = 1000;

const wantPodCidr =
  'one: start kube-controller-manager with --allocate-node-cidrs=true --cluster-cidr=CIDR (kubeadm: --pod-network-cidr=CIDR), or set spec.podCIDRs of the Node';
const wantNode = 'a Node of this name: set `node` to the name that kubelet registers';

type Read = { view: ClusterView; problems: string[] } | { error: ConfigError };

export class KubernetesSource implements ClusterSource {
  readonly whenWrong = 'what was last right of this cluster stays in force';
  readonly mendsItself = true;
  readonly settled: Promise<void>;
  readonly #parts: KubernetesParts;
  readonly cluster: KubernetesCluster;
  readonly #own: OwnNode;
  readonly #events: Events;
  readonly #settle: () => void;
  #changed = (): void => {};
  /** What is there, until it changes. */
  #read: Read | undefined;
  #unsaved: string | undefined;
  /** What keeps this node from being connected, and the Event's reason. */
  #lack: [string, string] | undefined;

  constructor(parts: KubernetesParts) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#parts = parts;
    this.settled = promise;
    this.#settle = resolve;
    this.cluster = new KubernetesCluster({
      ...parts,
      changed: () => this.#news(),
      take: (node) => this.#taken(node),
    });
    this.#own = new OwnNode(this.cluster.api, parts.node, parts.publicKey, () => this.#changed());
    const before = this.#recall();
    if ('view' in before) this.cluster.traffic.recall(before.view.traffic);
    const { node, log } = parts;
    const nodes = (): number => this.cluster.look()?.view.nodes.length ?? 1;
    this.#events = new Events({ api: this.cluster.api, node, log, nodes });
  }

  get notes(): string[] {
    return this.cluster.traffic.notes;
  }

  get problems(): string[] {
    // what keeps `read` from answering says so itself
    const read = this.#read && 'view' in this.#read ? this.#read : undefined;
    const { outage, traffic } = this.cluster;
    const old = read ? [outage, traffic.error?.message].filter((text) => text !== undefined) : [];
    return [
      ...old.map((text) => `${text}; ${this.whenWrong}`),
      ...(this.#own.problem === undefined ? [] : [this.#own.problem]),
      ...(read?.problems ?? []),
    ];
  }

  read(): ClusterView {
    this.#read ??= this.#look();
    if ('error' in this.#read) throw this.#read.error;
    return this.#read.view;
  }

  #look(): Read {
    const seen = this.cluster.look();
    if (!seen) return this.#recall();
    const why = this.#missing(seen);
    if (why) return { error: new ConfigError([why]) };
    this.#unsaved = seen.text;
    const problems = [...seen.leftOut]
      // one without a podCIDR is new, or its own agent says so
      .filter(([name]) => seen.found.get(name)!.entry.podCIDRs.length > 0)
      .map(([name, text]) => `Node "${name}" is left out: ${text}`);
    return { view: seen.view, problems };
  }

  /** Why this node is not in the view. */
  #missing({ found, leftOut }: Seen): Problem | undefined {
    const { node } = this.#parts;
    const path = `Node "${node}"`;
    const own = found.get(node);
    this.#lack = undefined;
    if (!own) return { path, got: `${found.size} others`, want: wantNode };
    if (own.entry.podCIDRs.length === 0) {
      this.#lack = ['NoPodCIDR', `the Node has no podCIDR, so its pods get no addresses; want ${wantPodCidr}`];
      return { path, got: 'no podCIDR', want: wantPodCidr };
    }
    const why = leftOut.get(node);
    if (why === undefined) return undefined;
    this.#lack = ['WrongNode', `pods of this Node are not connected: ${why}`];
    return { path, got: why, want: 'a Node that all others can take in' };
  }

  /** Takes Events of the agent; what keeps the Node out is the better word for an agent that is not ready. */
  tell(findings: ReadonlyMap<string, string>): void {
    const standing = new Map(findings);
    if (this.#lack) {
      standing.delete('NotReady');
      standing.set(...this.#lack);
    }
    this.#events.stand(standing);
  }

  /** The cluster of an earlier time. */
  #recall(): Read {
    try {
      return { view: new FileSource(this.#parts.file).read(), problems: [] };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const { outage, traffic } = this.cluster;
      if (traffic.error) return { error: traffic.error };
      const got = `no nodes: ${outage ?? 'the API server has not answered yet'}`;
      const want = `its answer, for of an earlier time there is nothing in ${this.#parts.file}`;
      return { error: new ConfigError([{ path: 'cluster', got, want }]) };
    }
  }

  watch(changed: () => void, signal: AbortSignal): void {
    this.#changed = changed;
    const hasty = setTimeout(this.#settle, patienceMs);
    this.cluster.follow(signal);
    void this.#events.run(signal);
    const saving = setInterval(() => this.#save(), saveMs);
    signal.addEventListener('abort', () => {
      clearTimeout(hasty);
      clearInterval(saving);
      this.#settle();
      this.#save();
    });
  }

  #save(): void {
    const text = this.#unsaved;
    this.#unsaved = undefined;
    try {
      if (text !== undefined) this.#parts.save(this.#parts.file, text);
    } catch (error) {
      this.#parts.log('warn', 'cannot keep the cluster for times without an API server', {
        error: (error as Error).message,
      });
    }
  }

  #news(): void {
    this.#read = undefined;
    if (this.cluster.look() || this.cluster.outage !== undefined) this.#settle();
    this.#changed();
  }

  /** This node's key is what it is, whatever the Node says; that is put right. */
  #taken(node: FoundNode): FoundNode {
    if (node.entry.name !== this.#parts.node) return node;
    this.#own.saw(node.entry.publicKey);
    return withPublicKey(node, this.#parts.publicKey);
  }
}

/**
 * The cluster view from Node objects. What was seen last is kept in a file, in the form of a cluster file, and is in force while the
 * API server does not answer. This node's own WireGuard key goes the other way, to an annotation of its Node.
 */

import { ConfigError, type Problem } from '../../errors.ts';
import type { ClusterView } from '../../plan/cluster.ts';
import { type ClusterSource, digestOf, FileSource } from '../file.ts';
import { Api, ApiError, said } from './api.ts';
import { Events } from './events.ts';
import { type Follower, followNodes } from './follow.ts';
import { agentLogin } from './login.ts';
import type { FoundNode } from './node.ts';
import { OwnNode } from './own-node.ts';
import { type Judged, NodeJudge } from './view.ts';

export interface KubernetesParts {
  /** This node's name. */
  readonly node: string;
  readonly kubeconfig: string | undefined;
  readonly publicKey: string;
  /** Where the nodes are kept for times without an API server, and how they get there: whole or not at all. */
  readonly file: string;
  readonly save: (file: string, document: object) => void;
  readonly log: (level: 'info' | 'warn', msg: string, fields?: Readonly<Record<string, unknown>>) => void;
}

/** So long an agent that starts waits for the first answer, before it takes what is on disk. */
const patienceMs = 3000;
/** Nodes of a growing cluster come one by one: they are written down together. */
const saveMs = 1000;

const wantPodCidr =
  'one: start kube-controller-manager with --allocate-node-cidrs=true --cluster-cidr=CIDR (kubeadm: --pod-network-cidr=CIDR), or set spec.podCIDRs of the Node';
const wantNode = 'a Node of this name: set `node` to the name that kubelet registers';

export class KubernetesSource implements ClusterSource, Follower {
  readonly whenWrong = 'what was last right of this cluster stays in force';
  readonly mendsItself = true;
  readonly notes: readonly string[] = [];
  readonly settled: Promise<void>;
  readonly #parts: KubernetesParts;
  readonly #api: Api;
  readonly #own: OwnNode;
  readonly #events: Events;
  readonly #judge = new NodeJudge();
  readonly #settle: () => void;
  #changed = (): void => {};
  /** Nothing before the first list. */
  #nodes: Map<string, FoundNode> | undefined;
  /** What `#nodes` mean, until they change. */
  #read: { view: ClusterView; problems: string[] } | { error: ConfigError } | undefined;
  #failure: { since: string; text: string } | undefined;
  #unsaved: object | undefined;
  /** What keeps this node from being connected, and the Event's reason. */
  #lack: [string, string] | undefined;

  constructor(parts: KubernetesParts) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#parts = parts;
    this.settled = promise;
    this.#settle = resolve;
    this.#api = new Api(agentLogin(parts.kubeconfig), 'culvert-agent');
    this.#own = new OwnNode(this.#api, parts.node, parts.publicKey, () => this.#changed());
    const { node, log } = parts;
    this.#events = new Events({ api: this.#api, node, log, nodes: () => this.#nodes?.size ?? 1 });
  }

  get problems(): string[] {
    // what keeps `read` from answering says so itself
    const read = this.#read && 'view' in this.#read ? this.#read : undefined;
    const failure = read && this.#failure && `${this.#failure.text}; ${this.whenWrong}`;
    return [failure, this.#own.problem, ...(read?.problems ?? [])].filter((text) => text !== undefined);
  }

  read(): ClusterView {
    this.#read ??= this.#nodes ? this.#look(this.#nodes) : this.#recall();
    if ('error' in this.#read) throw this.#read.error;
    return this.#read.view;
  }

  #look(found: ReadonlyMap<string, FoundNode>): { view: ClusterView; problems: string[] } | { error: ConfigError } {
    const { nodes, leftOut } = this.#judge.judge(found.values());
    const why = this.#missing(found, leftOut);
    if (why) return { error: new ConfigError([why]) };
    const document = { nodes: nodes.map(({ name }) => found.get(name)!.entry) };
    this.#unsaved = document;
    const problems = [...leftOut]
      // one without a podCIDR is new, or its own agent says so
      .filter(([name]) => found.get(name)!.entry.podCIDRs.length > 0)
      .map(([name, text]) => `Node "${name}" is left out: ${text}`);
    return { view: { nodes, digest: digestOf(JSON.stringify(document)) }, problems };
  }

  /** Why this node is not in the view. */
  #missing(found: ReadonlyMap<string, FoundNode>, leftOut: Judged['leftOut']): Problem | undefined {
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

  /** The nodes of an earlier time. */
  #recall(): { view: ClusterView; problems: string[] } | { error: ConfigError } {
    try {
      return { view: new FileSource(this.#parts.file).read(), problems: [] };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const got = `no nodes: ${this.#failure?.text ?? 'the API server has not answered yet'}`;
      const want = `its answer, for of an earlier time there is nothing in ${this.#parts.file}`;
      return { error: new ConfigError([{ path: 'cluster', got, want }]) };
    }
  }

  watch(changed: () => void, signal: AbortSignal): void {
    this.#changed = changed;
    const hasty = setTimeout(this.#settle, patienceMs);
    void followNodes(this.#api, this, signal);
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
    const document = this.#unsaved;
    this.#unsaved = undefined;
    try {
      if (document) this.#parts.save(this.#parts.file, document);
    } catch (error) {
      this.#parts.log('warn', 'cannot keep the nodes for times without an API server', {
        error: (error as Error).message,
      });
    }
  }

  #news(): void {
    this.#read = undefined;
    this.#settle();
    this.#changed();
  }

  /** This node's key is what it is, whatever the Node says; that is put right. */
  #taken(node: FoundNode): FoundNode {
    if (node.entry.name !== this.#parts.node) return node;
    this.#own.saw(node.entry.publicKey);
    return { ...node, entry: { ...node.entry, publicKey: this.#parts.publicKey } };
  }

  replace(nodes: ReadonlyMap<string, FoundNode>): void {
    this.#nodes = new Map([...nodes].map(([name, node]) => [name, this.#taken(node)]));
    this.#news();
  }

  put(name: string, node: FoundNode): void {
    const next = this.#taken(node);
    const isSame = JSON.stringify(this.#nodes?.get(name)) === JSON.stringify(next);
    if (isSame) return; // most are heartbeats
    this.#nodes?.set(name, next);
    this.#news();
  }

  drop(name: string): void {
    if (this.#nodes?.delete(name)) this.#news();
  }

  answered(): void {
    if (!this.#failure) return;
    this.#failure = undefined;
    this.#changed();
  }

  failed(error: Error): void {
    const was = this.#failure?.text;
    const since = this.#failure?.since ?? new Date().toISOString();
    const what = error instanceof ApiError ? 'refuses our requests' : 'does not answer';
    const text =
      error instanceof ConfigError
        ? error.message
        : `the API server ${this.#api.server} ${what} since ${since}: ${said(error)}`;
    this.#failure = { since, text };
    this.#settle();
    if (!this.#nodes) this.#read = undefined;
    if (text !== was) this.#changed();
  }
}

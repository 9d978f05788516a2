/**
 * What a cluster's nodes are like: Nodes and agents' pods as the API server has them, and what each agent says of itself. The API
 * server passes the questions on (pods/proxy): a workstation reaches it, and often nothing else.
 */

import type { NodeStatus } from '../../agent/status.ts';
import { type Api, ApiError, said } from '../../cluster/kubernetes/api.ts';
import { readList } from '../../cluster/kubernetes/list.ts';
import { pool } from '../../pool.ts';

export interface Place {
  readonly namespace: string;
  /** Where agents answer. */
  readonly port: number;
  /** These nodes alone; none: all. */
  readonly only: readonly string[];
}

export type AgentState = 'ready' | 'not ready' | 'no answer' | 'not running' | 'none';

export interface NodeReport {
  readonly node: string;
  /** As kubelet says. */
  readonly ready: boolean;
  readonly agent: AgentState;
  /** The agent's. */
  readonly pod?: string;
  readonly podCIDRs: readonly string[];
  readonly problems: readonly string[];
  /** What the agent said. */
  readonly status?: NodeStatus;
}

interface ApiNode {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly spec?: { readonly podCIDR?: string; readonly podCIDRs?: readonly string[] };
  readonly status?: {
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason?: string;
      readonly message?: string;
    }[];
  };
}

interface ApiPod {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
  readonly spec?: { readonly nodeName?: string };
  readonly status?: {
    readonly phase?: string;
    readonly containerStatuses?: readonly {
      readonly state?: {
        readonly running?: object;
        readonly waiting?: { readonly reason?: string; readonly message?: string };
      };
    }[];
  };
}

/** Questions at a time. */
const breadth = 32;

/** Items of a list, each as little of it as is wanted: those of 5,000 nodes are large. */
async function list<T, R>(api: Api, path: string, take: (item: T) => R): Promise<R[]> {
  const items: R[] = [];
  await readList(await api.call(path), (item) => items.push(take(item as T)));
  return items;
}

const nodesOf = (api: Api): Promise<ApiNode[]> =>
  list(api, '/api/v1/nodes?resourceVersion=0', ({ metadata: { name, labels }, spec, status }: ApiNode) => ({
    metadata: { name, ...(labels && { labels }) },
    ...(spec && { spec: { podCIDRs: spec.podCIDRs ?? (spec.podCIDR ? [spec.podCIDR] : []) } }),
    status: { conditions: (status?.conditions ?? []).filter((c) => c.type === 'Ready') },
  }));

/** The agent's pod of each node; of two the one that stays. */
async function podsOf(api: Api, namespace: string): Promise<Map<string, ApiPod>> {
  const selector = encodeURIComponent('app.kubernetes.io/name=culvert');
  const path = `/api/v1/namespaces/${namespace}/pods?labelSelector=${selector}&resourceVersion=0`;
  const pods = await list(api, path, ({ metadata, spec, status }: ApiPod) => ({ metadata, spec, status }) as ApiPod);
  const byNode = new Map<string, ApiPod>();
  for (const pod of pods) {
    const node = pod.spec?.nodeName ?? '';
    if (!byNode.has(node) || !pod.metadata.deletionTimestamp) byNode.set(node, pod);
  }
  return byNode;
}

/** Why kubelet does not call it ready. */
function notReady({ status }: ApiNode): string[] {
  const ready = status?.conditions?.[0];
  if (ready?.status === 'True') return [];
  const why = [ready?.reason, ready?.message].filter((text) => text).join(': ');
  return [`the Node is not Ready: ${why || 'kubelet has said nothing yet'}`];
}

/** Why a pod is no agent that could be asked; nothing when it is. */
function notRunning(pod: ApiPod, namespace: string): string | undefined {
  const { phase = 'Unknown', containerStatuses: [container] = [] } = pod.status ?? {};
  if (container?.state?.running) return undefined;
  const waiting = container?.state?.waiting;
  const why = [waiting?.reason ?? phase, waiting?.message].filter((text) => text).join(': ');
  const more = waiting?.reason === 'CrashLoopBackOff' ? 'logs --previous' : 'describe pod';
  return `the agent does not run: ${why}; kubectl -n ${namespace} ${more} ${pod.metadata.name} tells more`;
}

/** What an agent that answers 503 says of itself. */
function problemsOf(error: unknown): string[] | undefined {
  try {
    return error instanceof ApiError ? (JSON.parse(error.body) as { problems?: string[] }).problems : undefined;
  } catch {
    return undefined;
  }
}

type Heard = Pick<NodeReport, 'agent' | 'problems' | 'status'>;

async function ask(api: Api, pod: string, { namespace, port }: Place): Promise<Heard> {
  try {
    const status = await api.object<NodeStatus>(
      `/api/v1/namespaces/${namespace}/pods/http:${pod}:${port}/proxy/status`,
    );
    return { agent: 'ready', problems: status.problems, status };
  } catch (error) {
    const problems = problemsOf(error);
    if (problems) return { agent: 'not ready', problems };
    const text = said(error as Error);
    const hint = /refused/.test(text)
      ? `; it has just begun, or listens elsewhere: its configuration wants listen: "[::]:${port}"`
      : '';
    return { agent: 'no answer', problems: [`the agent does not answer through the API server: ${text}${hint}`] };
  }
}

function hear(api: Api, pod: ApiPod | undefined, place: Place): Heard | Promise<Heard> {
  const { namespace } = place;
  if (!pod)
    return { agent: 'none', problems: [`no agent: no pod of the DaemonSet in namespace ${namespace} is there`] };
  const why = notRunning(pod, namespace);
  return why === undefined ? ask(api, pod.metadata.name, place) : { agent: 'not running', problems: [why] };
}

/** Reports by name of node. Throws when the API server does not answer or a node of `only` is not there. */
export async function surveyNodes(api: Api, place: Place): Promise<NodeReport[]> {
  const [all, pods] = await Promise.all([nodesOf(api), podsOf(api, place.namespace)]);
  const unknown = place.only.filter((name) => !all.some((n) => n.metadata.name === name));
  if (unknown.length > 0) throw new Error(`no Node "${unknown[0]}"; kubectl get nodes lists them`);
  const nodes = all
    .filter(({ metadata: { labels } }) => (labels?.['kubernetes.io/os'] ?? 'linux') === 'linux')
    .filter(({ metadata }) => place.only.length === 0 || place.only.includes(metadata.name))
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  return pool(nodes, breadth, async (node) => {
    const { name } = node.metadata;
    const pod = pods.get(name);
    const why = notReady(node);
    const heard = await hear(api, pod, place);
    return {
      node: name,
      ready: why.length === 0,
      ...(pod && { pod: pod.metadata.name }),
      podCIDRs: node.spec?.podCIDRs ?? [],
      ...heard,
      problems: [...why, ...heard.problems],
    };
  });
}

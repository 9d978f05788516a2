/** Nodes' reports as people read them, as kubectl's columns. */

import type { NodeStatus, PoolStatus } from '../../agent/status.ts';
import { nameList, unlikeModes, unlikeMtus } from '../../agent/unlike.ts';
import { table } from '../../lab/table.ts';
import { formatTraffic } from '../../plan/change.ts';
import type { NodeReport } from './survey.ts';

/** What is wrong, and where. */
export interface Finding {
  readonly nodes: readonly string[];
  readonly text: string;
}

const mostOf = (values: readonly string[]): string | undefined =>
  [...Map.groupBy(values, (v) => v)].sort(([, a], [, b]) => b.length - a.length)[0]?.[0];

const answersOf = (reports: readonly NodeReport[]): NodeStatus[] => reports.flatMap((r) => r.status ?? []);

/** The digest of the cluster that most agents see. */
const commonCluster = (reports: readonly NodeReport[]): string | undefined =>
  mostOf(answersOf(reports).flatMap((s) => s.cluster ?? []));

/** The scarcest: the one that ends first. */
const poolOf = (status: NodeStatus | undefined): PoolStatus | undefined =>
  status?.pools?.reduce<PoolStatus | undefined>((least, p) => (least && least.size <= p.size ? least : p), undefined);

/** Problems of all nodes, each once; one that is the same on several names them. */
export function findingsOf(reports: readonly NodeReport[]): Finding[] {
  const common = commonCluster(reports);
  const said = reports.flatMap(({ node, problems, status }) => [
    ...problems.map((text) => ({ node, text })),
    ...(status && status.cluster !== common
      ? [{ node, text: 'the agent sees another cluster than most do: a Node has just changed, or its watch hangs' }]
      : []),
  ]);
  return [...Map.groupBy(said, (s) => s.text)].map(([text, of]) => ({ nodes: of.map((s) => s.node), text }));
}

/** What is not the same everywhere. */
export function remarksOf(reports: readonly NodeReport[]): string[] {
  const answers = answersOf(reports);
  return [...unlikeModes(answers), ...unlikeMtus(answers)];
}

/** "auto: routed 4, vxlan 1": to so many nodes each way. */
function modeOf({ traffic, ways }: NodeStatus, isWide: boolean): string {
  const mode = isWide ? formatTraffic(traffic) : traffic.mode;
  const chosen = [...Map.groupBy(ways, (w) => w.way ?? 'none')].map(([way, of]) => `${way} ${of.length}`).sort();
  const accepts = traffic.alsoAccept ? `, accepts ${formatTraffic(traffic.alsoAccept)}` : '';
  return mode + (chosen.length > 0 ? `: ${chosen.join(', ')}` : '') + accepts;
}

const sourceOf = ({ sourceOk, cluster }: NodeStatus, common: string | undefined): string =>
  sourceOk === false ? 'problem' : cluster === common ? 'ok' : 'differs';

const formatPool = (p: PoolStatus): string => `${p.leased}/${p.size}`;

export function renderNodes(reports: readonly NodeReport[], isWide: boolean): string[] {
  const common = commonCluster(reports);
  const heading = ['NODE', 'STATUS', 'AGENT', 'MODE', 'MTU', 'PODS', 'SOURCE', 'POD-CIDRS'];
  const rows = reports.map(({ node, ready, agent, pod, status, podCIDRs }) => {
    const own = poolOf(status);
    return [
      node,
      ready ? 'Ready' : 'NotReady',
      agent,
      status ? modeOf(status, isWide) : '-',
      status ? String(status.mtu) : '-',
      own ? formatPool(own) : '-',
      status ? sourceOf(status, common) : '-',
      podCIDRs.join(',') || 'none',
      ...(isWide ? [pod ?? '-'] : []),
    ];
  });
  return table(
    [isWide ? [...heading, 'AGENT-POD'] : heading, ...rows],
    ['left', 'left', 'left', 'left', 'right', 'right'],
  );
}

export const renderFindings = (findings: readonly Finding[]): string[] =>
  findings.map(({ nodes, text }) => `${nameList(nodes)}: ${text}`);

export interface Totals {
  readonly nodes: number;
  /** The Node is Ready and its agent is. */
  readonly ready: number;
  readonly withProblems: number;
  readonly pods: { readonly leased: number; readonly addresses: number };
}

export function totalsOf(reports: readonly NodeReport[], findings: readonly Finding[]): Totals {
  const pools = reports.flatMap((r) => poolOf(r.status) ?? []);
  return {
    nodes: reports.length,
    ready: reports.filter((r) => r.ready && r.agent === 'ready').length,
    withProblems: new Set(findings.flatMap((f) => f.nodes)).size,
    pods: {
      leased: pools.reduce((sum, p) => sum + p.leased, 0),
      addresses: pools.reduce((sum, p) => sum + p.size, 0),
    },
  };
}

/** "3 nodes: 2 ready, 1 with problems; 9 of 508 pod addresses leased" */
export function renderTotals({ nodes, ready, withProblems, pods }: Totals): string {
  const troubled = withProblems === 0 ? 'no problems' : `${withProblems} with problems`;
  const leased = pods.addresses > 0 ? `; ${pods.leased} of ${pods.addresses} pod addresses leased` : '';
  return `${nodes} ${nodes === 1 ? 'node' : 'nodes'}: ${ready} ready, ${troubled}${leased}`;
}

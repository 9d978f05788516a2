import { describe, expect, it } from 'vitest';
import type { NodeStatus } from '../../src/agent/status.ts';
import {
  findingsOf,
  remarksOf,
  renderFindings,
  renderNodes,
  renderTotals,
  totalsOf,
} from '../../src/cli/kubectl/summary.ts';
import type { NodeReport } from '../../src/cli/kubectl/survey.ts';

const status = (node: string, more: Partial<NodeStatus> = {}): NodeStatus => ({
  node,
  cluster: 'aaaa',
  traffic: { mode: 'vxlan', sameSubnet: 'tunnel' },
  mtu: 1450,
  notAccepted: [],
  unanswered: [],
  softwareChecksums: [],
  sourceOk: true,
  pools: [
    { family: 'ipv6', size: 2 ** 64, leased: 12 },
    { family: 'ipv4', size: 253, leased: 12 },
  ],
  ways: [],
  problems: [],
  ...more,
});

const report = (i: number, said: Partial<NodeStatus> = {}, more: Partial<NodeReport> = {}): NodeReport => ({
  node: `node${i}`,
  ready: true,
  agent: 'ready',
  pod: `culvert-${i}`,
  podCIDRs: [`10.244.${i}.0/24`, `fd00:244:${i}::/64`],
  problems: [],
  status: status(`node${i}`, said),
  ...more,
});

const silent = (i: number, agent: NodeReport['agent'], ...problems: string[]): NodeReport => {
  const { status: _, pod: __, ...rest } = report(i, {}, { agent, problems });
  return rest;
};

describe('renderNodes()', () => {
  it('shows a row for each node, and of two families the pool that ends first', () => {
    const reports = [report(1), silent(2, 'no answer', 'x'), report(10, { sourceOk: false })];
    expect(renderNodes(reports, false)).toEqual([
      'NODE    STATUS  AGENT      MODE    MTU    PODS  SOURCE   POD-CIDRS',
      'node1   Ready   ready      vxlan  1450  12/253  ok       10.244.1.0/24,fd00:244:1::/64',
      'node2   Ready   no answer  -         -       -  -        10.244.2.0/24,fd00:244:2::/64',
      'node10  Ready   ready      vxlan  1450  12/253  problem  10.244.10.0/24,fd00:244:10::/64',
    ]);
  });

  it('says what carries and what is accepted too, and in mode auto to how many nodes each way leads', () => {
    const way = (node: string, chosen?: 'routed' | 'vxlan') => ({
      node,
      way: chosen,
      why: '',
      passing: {},
      lacking: [],
    });
    const ways = [way('a', 'routed'), way('b', 'vxlan'), way('c', 'routed'), way('d')] as unknown as NodeStatus['ways'];
    const vxlan = { mode: 'vxlan', sameSubnet: 'direct' } as const;
    const rows = renderNodes(
      [
        report(1, { traffic: { mode: 'wireguard', sameSubnet: 'tunnel', alsoAccept: vxlan } }),
        report(2, { traffic: { mode: 'auto', sameSubnet: 'tunnel' }, ways }),
      ],
      false,
    );
    expect(rows[1]).toContain('  wireguard, accepts vxlan (same subnet direct)  ');
    expect(rows[2]).toContain('  auto: none 1, routed 2, vxlan 1  ');
  });

  it('does with what an agent of an earlier version leaves out', () => {
    const { sourceOk: _, pools: __, ...old } = status('node1');
    expect(renderNodes([report(1, {}, { status: old })], true)[1]).toBe(
      'node1  Ready   ready  vxlan  1450     -  ok      10.244.1.0/24,fd00:244:1::/64  culvert-1',
    );
  });
});

describe('findingsOf()', () => {
  it('says once what is wrong on many nodes, with the names of some', () => {
    const reports = [1, 2, 3, 4, 5, 6, 7, 8].map((i) => silent(i, 'none', 'no agent'));
    expect(renderFindings(findingsOf(reports))).toEqual(['node1, node2, node3, node4, node5 and 3 more: no agent']);
    expect(totalsOf(reports, findingsOf(reports))).toEqual({
      nodes: 8,
      ready: 0,
      withProblems: 8,
      pods: { leased: 0, addresses: 0 },
    });
  });

  it('names an agent that sees another cluster than the others', () => {
    const [found, ...others] = findingsOf([report(1), report(2, { cluster: 'bbbb' }), report(3)]);
    expect(found).toMatchObject({ nodes: ['node2'], text: expect.stringContaining('another cluster') });
    expect(others).toEqual([]);
  });
});

describe('remarksOf()', () => {
  it('says what is not the same everywhere', () => {
    const routed = { mode: 'routed', sameSubnet: 'tunnel' } as const;
    expect(remarksOf([report(1), report(2), silent(3, 'none')])).toEqual([]);
    expect(remarksOf([report(1), report(2, { traffic: routed, mtu: 1500 }), report(3)])).toEqual([
      'mode is not the same everywhere: vxlan on node1, node3; routed on node2',
      "pods' MTU is not the same everywhere: 1450 on node1, node3; 1500 on node2",
    ]);
  });
});

describe('renderTotals()', () => {
  it('adds up pods and nodes', () => {
    const reports = [report(1), report(2, {}, { ready: false, problems: ['x'] })];
    expect(renderTotals(totalsOf(reports, findingsOf(reports)))).toBe(
      '2 nodes: 1 ready, 1 with problems; 24 of 506 pod addresses leased',
    );
    expect(renderTotals(totalsOf([report(1)], []))).toBe(
      '1 node: 1 ready, no problems; 12 of 253 pod addresses leased',
    );
  });
});

import { describe, expect, it } from 'vitest';
import { txChecksumOf } from '../../src/apply/read.ts';
import { diff } from '../../src/plan/diff.ts';
import { emptyState } from '../../src/plan/host.ts';
import { type NodePlan, planNode } from '../../src/plan/node.ts';
import { tunnelEnds } from '../../src/plan/offload.ts';
import { asCommand, render } from '../../src/plan/render.ts';
import type { NodeSettings } from '../../src/plan/settings.ts';
import type { HostFacts } from '../../src/plan/underlay.ts';
import { host, keyOf, settings, viewOf } from '../support/cluster.ts';

const view = viewOf('dual', 'dual', (i) => ({ publicKey: keyOf(i) }));
const planOf = (set: Partial<NodeSettings>, facts: Partial<HostFacts> = {}): NodePlan =>
  planNode(view, { ...settings, ...set }, { ...host, ...facts });

const linesOf = (plan: NodePlan, links = emptyState().links): string[] =>
  diff({ ...emptyState(), links }, plan.state)
    .flatMap(render)
    .map(asCommand)
    .filter((line) => line.startsWith('ethtool'));

const off = { txChecksums: new Map([['culvert-vxlan', false]]), hasEthtool: true };
const on = { txChecksums: new Map([['culvert-vxlan', true]]), hasEthtool: true };

describe('checksum offload in the plan', () => {
  it('is no matter of a plan until something was found', () => {
    const plan = planOf({});
    expect(plan.state.links.map((l) => l.txChecksum)).toEqual([undefined]);
    expect(linesOf(plan)).toEqual([]);
  });

  it('is switched off and on again, and left alone when it is so', () => {
    const [vxlan] = planOf({}, off).state.links;
    expect(linesOf(planOf({}, off))).toEqual(['ethtool -K culvert-vxlan tx-checksum-ip-generic off']);
    expect(linesOf(planOf({}, off), [vxlan!])).toEqual([]);
    expect(linesOf(planOf({}, on), [vxlan!])).toEqual(['ethtool -K culvert-vxlan tx-checksum-ip-generic on']);
    expect(linesOf(planOf({}), [vxlan!])).toEqual([]);
  });

  it('says that ethtool is missing, and plans what can be had without', () => {
    const plan = planOf({}, { ...off, hasEthtool: false });
    expect(plan.problems).toEqual([
      {
        text: 'checksumOffload: the program ethtool, which switches it on culvert-vxlan, is not installed; install ethtool',
      },
    ]);
    expect(linesOf(plan)).toEqual([]);
  });
});

describe('txChecksumOf()', () => {
  it.each([
    ['tx-checksumming: on\n\ttx-checksum-ipv4: off [fixed]\n\ttx-checksum-ip-generic: on\n', true],
    ['tx-checksumming: off\n\ttx-checksum-ip-generic: off\n', false],
    ['\ttx-checksum-ip-generic: off [fixed]\n', false],
    ['', undefined],
  ])('reads %j', (text, want) => {
    expect(txChecksumOf(text)).toBe(want);
  });
});

describe('tunnelEnds()', () => {
  const endsOf = (set: Partial<NodeSettings>) =>
    Object.fromEntries(tunnelEnds(planOf(set), view.nodes, { skip: 0, count: 3 }));

  it("are the first addresses of other nodes' podCIDRs, from the next node on", () => {
    expect(endsOf({})).toEqual({
      'culvert-vxlan': [
        { node: 'n2', address: '10.244.2.0' },
        { node: 'n3', address: '10.244.3.0' },
      ],
    });
    const asked = (skip: number, count: number) =>
      tunnelEnds(planOf({}), view.nodes, { skip, count })
        .get('culvert-vxlan')!
        .map((e) => e.node);
    expect(asked(0, 1)).toEqual(['n2']);
    expect(asked(1, 1)).toEqual(['n3']);
    expect(asked(1, 3)).toEqual(['n3', 'n2']);
  });

  it('are of each device those that it leads to', () => {
    const ends = endsOf({ mode: 'ipip' });
    expect(Object.keys(ends)).toEqual(['culvert-ipip', 'culvert-ip6tnl']);
    expect(ends['culvert-ip6tnl']!.map((e) => e.address)).toEqual(['fd00:244:2::', 'fd00:244:3::']);
  });

  it('are none where nothing is wrapped, or by WireGuard', () => {
    expect(endsOf({ sameSubnet: 'direct' })['culvert-vxlan']!.map((e) => e.node)).toEqual(['n3']);
    expect(endsOf({ mode: 'routed', behindRouter: 'gateway' })).toEqual({});
    expect(endsOf({ mode: 'wireguard' })).toEqual({});
  });

  it('are in mode auto the addresses of the way that carries', () => {
    const chosen = new Map([
      ['n2', 'vxlan'],
      ['n3', 'ipip'],
    ] as const);
    const ends = endsOf({ mode: 'auto', behindRouter: 'gateway', auto: { ...settings.auto, chosen } });
    expect(ends['culvert-vxlan']!.map((e) => [e.node, e.address.split('.')[0]])).toEqual([['n2', '242']]);
    expect(ends['culvert-ipip']).toEqual([
      { node: 'n3', address: expect.stringMatching(/^241\./), source: expect.stringMatching(/^241\./) },
    ]);
  });
});

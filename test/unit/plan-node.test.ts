import { describe, expect, it } from 'vitest';
import { ViewDecoder } from '../../src/cluster/view.ts';
import { PlanError } from '../../src/plan/cluster.ts';
import { diff } from '../../src/plan/diff.ts';
import { emptyState, type NamespaceState } from '../../src/plan/host.ts';
import { planNode } from '../../src/plan/node.ts';
import { asCommand, render } from '../../src/plan/render.ts';
import type { NodeSettings } from '../../src/plan/settings.ts';
import type { HostFacts } from '../../src/plan/underlay.ts';
import { host, keyOf, type More, nodesOf, type Stack, settings, viewOf } from '../support/cluster.ts';
import { FakeNamespace } from '../support/fake-namespace.ts';

interface Case {
  name: string;
  underlay: Stack;
  pods: Stack;
  set?: Partial<NodeSettings>;
  facts?: Partial<HostFacts>;
  more?: More;
}

const keyed: More = (i) => ({ publicKey: keyOf(i) });
const sited: More = (i) => ({ publicKey: keyOf(i), site: i === 3 ? 'south' : 'north' });
const preshared = { file: '/etc/culvert/psk', mark: '0123456789abcdef' };

const cases: Case[] = [
  { name: 'vxlan-v4', underlay: 'v4', pods: 'v4' },
  { name: 'vxlan-v6', underlay: 'v6', pods: 'v6' },
  { name: 'vxlan-v6-over-v4', underlay: 'v4', pods: 'v6' },
  { name: 'vxlan-v4-over-v6', underlay: 'v6', pods: 'v4' },
  { name: 'vxlan-dual', underlay: 'dual', pods: 'dual' },
  { name: 'vxlan-dual-direct', underlay: 'dual', pods: 'dual', set: { sameSubnet: 'direct' } },
  { name: 'vxlan-dual-over-v4-direct', underlay: 'v4', pods: 'dual', set: { sameSubnet: 'direct' } },
  { name: 'routed-dual-refuse', underlay: 'dual', pods: 'dual', set: { mode: 'routed' } },
  { name: 'routed-dual-gateway', underlay: 'dual', pods: 'dual', set: { mode: 'routed', behindRouter: 'gateway' } },
  { name: 'vxlan-v4-no-masquerade', underlay: 'v4', pods: 'v4', set: { masquerade: false } },
  { name: 'vxlan-v4-strict', underlay: 'v4', pods: 'v4', facts: { strict: ['eth0'] } },
  { name: 'vxlan-v6-advertised', underlay: 'v6', pods: 'v6', facts: { strict: [], advertised: ['eth0'] } },
  { name: 'ipip-v4', underlay: 'v4', pods: 'v4', set: { mode: 'ipip' } },
  { name: 'ipip-v6', underlay: 'v6', pods: 'v6', set: { mode: 'ipip' } },
  { name: 'ipip-v4-over-v6', underlay: 'v6', pods: 'v4', set: { mode: 'ipip' } },
  { name: 'ipip-dual-over-v4', underlay: 'v4', pods: 'dual', set: { mode: 'ipip' } },
  { name: 'ipip-dual', underlay: 'dual', pods: 'dual', set: { mode: 'ipip' } },
  { name: 'ipip-dual-direct', underlay: 'dual', pods: 'dual', set: { mode: 'ipip', sameSubnet: 'direct' } },
  { name: 'wireguard-v4', underlay: 'v4', pods: 'v4', set: { mode: 'wireguard' }, more: keyed },
  { name: 'wireguard-dual-over-v6', underlay: 'v6', pods: 'dual', set: { mode: 'wireguard' }, more: keyed },
  {
    name: 'wireguard-dual-direct',
    underlay: 'dual',
    pods: 'dual',
    set: { mode: 'wireguard', sameSubnet: 'direct' },
    more: keyed,
  },
  {
    name: 'wireguard-v4-preshared',
    underlay: 'v4',
    pods: 'v4',
    set: {
      mode: 'wireguard',
      wireguard: { port: 51821, keepaliveSeconds: 25, keys: { ...settings.wireguard.keys!, preshared } },
    },
    more: keyed,
  },
  {
    name: 'routed-between-sites-wireguard',
    underlay: 'dual',
    pods: 'dual',
    set: { mode: 'routed', betweenSites: 'wireguard' },
    more: sited,
  },
  {
    name: 'vxlan-between-sites-ipip',
    underlay: 'v4',
    pods: 'v4',
    set: { mode: 'vxlan', betweenSites: 'ipip' },
    more: sited,
  },
];

const planOf = ({ underlay, pods, set, facts, more }: Omit<Case, 'name'>) =>
  planNode(viewOf(underlay, pods, more), { ...settings, ...set }, { ...host, ...facts });

describe('planNode() as the lines that make it', () => {
  it.each(cases)('$name', async (c) => {
    const plan = planOf(c);
    const lines = diff(emptyState(), plan.state).flatMap(render).map(asCommand);
    const remarks = [`# mtu ${plan.mtuBytes}`, ...plan.problems.map((p) => `# ${p.text}`)];
    await expect(`${[...remarks, ...lines].join('\n')}\n`).toMatchFileSnapshot(`../golden/${c.name}.txt`);
  });
});

describe('diff()', () => {
  const states: [string, NamespaceState][] = [
    ...cases.map((c): [string, NamespaceState] => [c.name, planOf(c).state]),
    ['nothing', emptyState()],
  ];

  it.each(states)('finds nothing between %s and itself', (_name, state) => {
    expect(diff(state, structuredClone(state))).toEqual([]);
  });

  it('leads from any state to any other', () => {
    for (const [from, a] of states) {
      for (const [to, b] of states) {
        const namespace = new FakeNamespace();
        namespace.apply(diff(namespace.state, a));
        namespace.apply(diff(namespace.state, structuredClone(b)));
        const fresh = new FakeNamespace();
        fresh.apply(diff(fresh.state, b));
        const global = (text: string): string => text.replaceAll(/^sysctls .*\n?/gm, '');
        expect(global(namespace.text), `${from} → ${to}`).toBe(global(fresh.text));
        expect(diff(namespace.state, b), `${from} → ${to}, again`).toEqual([]);
      }
    }
  });

  it('replaces routes in place when the mode changes, and removes the device last', () => {
    const vxlan = planOf({ underlay: 'v4', pods: 'v4' }).state;
    const routed = planOf({ underlay: 'v4', pods: 'v4', set: { mode: 'routed', behindRouter: 'gateway' } }).state;
    const ops = diff(vxlan, routed).map((c) => c.op);
    expect(ops.filter((op) => op === 'delete-route')).toEqual([]);
    expect(ops.lastIndexOf('replace-route')).toBeLessThan(ops.indexOf('delete-link'));
  });
});

describe('planNode()', () => {
  it('follows the MTU of the interface, less the overhead of the family that wraps', () => {
    const links = host.links.map((l) => (l.name === 'eth0' ? { ...l, mtu: 9000 } : l));
    expect(planOf({ underlay: 'v4', pods: 'dual', facts: { links } }).mtuBytes).toBe(8950);
    expect(planOf({ underlay: 'v6', pods: 'dual', facts: { links } }).mtuBytes).toBe(8930);
    expect(planOf({ underlay: 'dual', pods: 'dual', set: { mode: 'routed', behindRouter: 'gateway' } }).mtuBytes).toBe(
      1500,
    );
  });

  it('warns of an MTU that does not fit', () => {
    const { problems, mtuBytes } = planOf({ underlay: 'v4', pods: 'v4', set: { mtu: 1500 } });
    expect(mtuBytes).toBe(1500);
    expect(problems.map((p) => p.text)).toEqual([
      'mtu: 1500 is more than the 1450 bytes that the underlay leaves; packets will be lost',
    ]);
  });

  it("leaves another's route alone and names it", () => {
    const routes = [
      ...host.routes,
      { prefix: '10.244.2.0/24', via: '10.244.2.0', dev: 'flannel.1', protocol: 'static' },
    ];
    const { problems, state } = planOf({ underlay: 'v4', pods: 'v4', facts: { routes } });
    expect(state.routes.map((r) => r.prefix)).toEqual(['10.244.3.0/24']);
    expect(problems[0]?.text).toContain(
      'a route to 10.244.2.0/24 via 10.244.2.0 dev flannel.1 of protocol static is in the way',
    );
  });

  it.each<[string, () => unknown, RegExp]>([
    [
      'a node that is not in the file',
      () => planOf({ underlay: 'v4', pods: 'v4', set: { node: 'n9' } }),
      /node "n9" is not in the cluster file/,
    ],
    [
      'an address on no interface',
      () => planOf({ underlay: 'v4', pods: 'v4', facts: { addresses: [] } }),
      /no interface of this host has 192.168.1.11/,
    ],
    [
      'IPv6 pods without IPv6',
      () => planOf({ underlay: 'v4', pods: 'v6', facts: { hasIpv6: false } }),
      /IPv6 switched off/,
    ],
    [
      "another's link of our name",
      () =>
        planOf({
          underlay: 'v4',
          pods: 'v4',
          facts: {
            links: [...host.links, { name: 'culvert-vxlan', make: { kind: 'bridge' }, address: '02:00:00:00:00:01' }],
          },
        }),
      /a link named culvert-vxlan exists and is not ours.*ip link delete dev culvert-vxlan/,
    ],
    [
      "another's device with our id and port",
      () =>
        planOf({
          underlay: 'v4',
          pods: 'v4',
          facts: {
            links: [
              ...host.links,
              { name: 'flannel.1', make: { kind: 'vxlan', id: 1, port: 4789, local: '192.168.1.11' } },
            ],
          },
        }),
      /link flannel\.1 already uses VXLAN id 1 on UDP port 4789/,
    ],
    [
      'nodes without a common family',
      () => {
        const [n1, n2] = [nodesOf('v4', 'v4')[0]!, nodesOf('v6', 'v4')[1]!];
        return planNode(new ViewDecoder().decode({ nodes: [n1, n2] }), settings, host);
      },
      /one address family that every node has: n2 without an IPv4 address, n1 without an IPv6 address/,
    ],
  ])('refuses %s', (_name, plan, message) => {
    expect(plan).toThrow(PlanError);
    expect(plan).toThrow(message);
  });
});

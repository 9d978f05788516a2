import { describe, expect, it } from 'vitest';
import { ViewDecoder } from '../../src/cluster/view.ts';
import { meshLimit } from '../../src/plan/bgp.ts';
import { planNode } from '../../src/plan/node.ts';
import type { BgpSettings, NodeSettings } from '../../src/plan/settings.ts';
import type { HostFacts } from '../../src/plan/underlay.ts';
import { host, type More, nodesOf, type Stack, settings, viewOf } from '../support/cluster.ts';

interface Case {
  name: string;
  stack?: Stack;
  bgp?: Partial<BgpSettings>;
  set?: Partial<NodeSettings>;
  more?: More;
  facts?: Partial<HostFacts>;
}

const router = { address: '192.168.1.1', as: 64_500, bfd: false, import: 'default' } as const;
const router6 = { ...router, address: 'fd01::1' };

function planOf({ stack = 'dual', bgp, set, more, facts }: Omit<Case, 'name'>) {
  const all = { ...settings, mode: 'bgp' as const, ...set, bgp: { ...settings.bgp, ...bgp } };
  const plan = planNode(viewOf(stack, stack, more), all, { ...host, ...facts });
  return { ...plan, bgp: plan.bgp! };
}

const cases: Case[] = [
  { name: 'bgp-v4-one-link' },
  { name: 'bgp-dual-top-of-rack', bgp: { peers: [router, router6] } },
  {
    name: 'bgp-v4-spelled-out',
    stack: 'v4',
    set: { behindRouter: 'gateway' },
    bgp: {
      as: 65_001,
      bfd: true,
      gracefulRestartSeconds: 0,
      passwordFile: '/etc/culvert/mesh',
      peers: [
        { ...router, bfd: true, passwordFile: '/etc/culvert/router', import: ['10.0.0.0/8', 'fd00::/8'] },
        { ...router, address: '10.9.9.9', as: 65_001, multihop: 3, import: 'all' },
        { ...router, address: '10.9.9.10', multihop: 2, import: 'none' },
      ],
    },
    more: (i) => (i === 2 ? { as: 65_002 } : {}),
  },
  {
    name: 'bgp-dual-reflector',
    bgp: { peers: [router, router6] },
    more: (i) => ({ routeReflector: i < 3, ...(i === 3 && { as: 65_003 }) }),
  },
  {
    name: 'bgp-v6-reflected',
    stack: 'v6',
    set: { behindRouter: 'gateway' },
    more: (i) => ({ routeReflector: i === 3 }),
  },
];

describe("planBgp() as BIRD's configuration", () => {
  it.each(cases)('$name', async ({ name, ...c }) => {
    const { bgp, problems, mtuBytes } = planOf(c);
    const remarks = [`# mtu ${mtuBytes}`, ...problems.map((p) => `# ${p.text}`)];
    await expect(`${remarks.join('\n')}\n${bgp.configuration}`).toMatchFileSnapshot(`../golden/${name}.conf`);
  });
});

/** A cluster of many nodes on one link, and the sessions of one of them. */
function sessionsOf(count: number, own: number, more: More = () => ({})): string[] {
  const nodes = Array.from({ length: count }, (_, i) => ({
    name: `m${i + 1}`,
    addresses: [`192.168.${1 + (i >> 7)}.${(i % 128) + 11}`],
    podCIDRs: [`10.${i >> 8}.${i & 255}.0/24`],
    ...more(i + 1),
  }));
  const address = nodes[own - 1]!.addresses[0]!;
  const facts = { ...host, addresses: [{ dev: 'eth0', address: `${address}/16` }], routes: [] };
  const plan = planNode(new ViewDecoder().decode({ nodes }), { ...settings, mode: 'bgp', node: `m${own}` }, facts);
  return plan.bgp!.sessions.map((s) => `${s.kind} ${s.peer}`);
}

describe('who talks to whom', () => {
  it('up to 50 nodes everybody with everybody', () => {
    expect(sessionsOf(meshLimit, 7)).toHaveLength(meshLimit - 1);
  });

  it('above 50 nodes everybody with three, which all choose alike and which talk to all', () => {
    const count = meshLimit + 1;
    const plain = Array.from({ length: count }, (_, i) => sessionsOf(count, i + 1));
    const talkative = plain.flatMap((sessions, i) => (sessions.length === count - 1 ? [`m${i + 1}`] : []));
    expect(talkative).toHaveLength(3);
    for (const [i, sessions] of plain.entries()) {
      if (!talkative.includes(`m${i + 1}`)) expect(sessions.sort()).toEqual(talkative.map((n) => `node ${n}`).sort());
    }
  });

  it('labelled nodes are the reflectors, however many nodes there are', () => {
    const labelled: More = (i) => ({ routeReflector: i === 2 });
    for (const count of [3, 60]) {
      expect(sessionsOf(count, 1, labelled)).toEqual(['node m2']);
      expect(new Set(sessionsOf(count, 2, labelled).map((s) => s.split(' ')[0]))).toEqual(new Set(['client']));
      expect(sessionsOf(count, 2, labelled)).toHaveLength(count - 1);
    }
  });

  it('routers of another site are left to its nodes', () => {
    const site: More = (i) => ({ site: i === 3 ? 'south' : 'north' });
    const peers = [
      { ...router, site: 'north' },
      { ...router, address: '192.168.2.1', site: 'south' },
    ];
    const { bgp, problems } = planOf({ stack: 'v4', bgp: { peers }, more: site });
    expect(bgp.sessions.filter((s) => s.kind === 'router').map((s) => s.address)).toEqual(['192.168.1.1']);
    expect(problems).toEqual([]);
  });

  it('nodes of another site are left to the mode between sites', () => {
    const site: More = (i) => ({ site: i === 3 ? 'south' : 'north' });
    const { bgp, state } = planOf({ stack: 'v4', set: { betweenSites: 'vxlan' }, more: site });
    expect(bgp.sessions.map((s) => s.peer)).toEqual(['n2']);
    expect(bgp.missing).toEqual([{ node: 'n2', prefixes: ['10.244.2.0/24'] }]);
    expect(state.routes.map((r) => r.prefix)).toEqual(['10.244.3.0/24']);
  });

  it('long names are cut, and stay apart', () => {
    const nodes = nodesOf('v4', 'v4').map((n, i) => ({ ...n, name: i === 0 ? 'n1' : `${'long-'.repeat(20)}${i}` }));
    const view = new ViewDecoder().decode({ nodes });
    const plan = planNode(view, { ...settings, mode: 'bgp', behindRouter: 'gateway' }, host);
    const names = plan.bgp!.sessions.map((s) => s.name);
    expect(new Set(names).size).toBe(2);
    for (const name of names) expect(name).toMatch(/^[a-zA-Z0-9.:-]{1,64}$/);
  });
});

describe('what the plan finds wrong', () => {
  it.each<[string, Omit<Case, 'name'>, RegExp]>([
    [
      'a router that is a node',
      { bgp: { peers: [{ ...router, address: '192.168.1.12' }] } },
      /192\.168\.1\.12 is the node "n2"/,
    ],
    [
      'a router behind a router',
      { bgp: { peers: [{ ...router, address: '10.0.0.1' }] } },
      /10\.0\.0\.1 is behind the router 192\.168\.1\.1; set `multihop`/,
    ],
    [
      'a router that no route leads to',
      {
        bgp: { peers: [router6] },
        facts: {
          routes: [],
          addresses: [
            { dev: 'eth0', address: '192.168.1.11/24' },
            { dev: 'lo', address: 'fd01::11/128' },
          ],
        },
      },
      /no route of this host leads to fd01::1/,
    ],
    [
      'a node behind a router that nobody asks',
      {},
      /node "n3" at 192\.168\.2\.13 is behind the router 192\.168\.1\.1.*bgp\.peers/,
    ],
  ])('%s', (_name, c, text) => {
    expect(
      planOf(c)
        .problems.map((p) => p.text)
        .join('\n'),
    ).toMatch(text);
  });
});

describe('routes that BGP has to bring', () => {
  it('are missing until BIRD has put them into the kernel', () => {
    const route = { prefix: '10.244.2.0/24', via: '192.168.1.12', dev: 'eth0', protocol: 'bird', metric: 2048 };
    const c = { stack: 'v4', bgp: { peers: [router] } } as const;
    expect(planOf(c).bgp).toMatchObject({ hasRoutes: false });
    const { bgp } = planOf({ ...c, facts: { routes: [...host.routes, route] } });
    expect(bgp).toMatchObject({ hasRoutes: true, missing: [{ node: 'n3', prefixes: ['10.244.3.0/24'] }] });
  });
});

import { describe, expect, it } from 'vitest';
import { findPathMtu, type Ping } from '../../src/agent/path-search.ts';
import { unlikeMtus } from '../../src/agent/unlike.ts';
import { diff } from '../../src/plan/diff.ts';
import { emptyState } from '../../src/plan/host.ts';
import { planNode } from '../../src/plan/node.ts';
import type { NodeSettings } from '../../src/plan/settings.ts';
import type { HostFacts } from '../../src/plan/underlay.ts';
import { host, keyOf, type Stack, settings, viewOf } from '../support/cluster.ts';

const gateway = { mode: 'routed', behindRouter: 'gateway' } as const;

function planOf(
  measured: Record<string, number>,
  {
    set = {},
    stack = 'dual',
    facts = {},
  }: { set?: Partial<NodeSettings>; stack?: Stack; facts?: Partial<HostFacts> } = {},
) {
  const view = viewOf(stack, stack, (i) => ({ publicKey: keyOf(i) }));
  const pathMtus = new Map(Object.entries(measured));
  return planNode(view, { ...settings, ...set }, { ...host, ...facts, pathMtus });
}

const mtusOf = (plan: ReturnType<typeof planOf>): Record<string, number | undefined> =>
  Object.fromEntries(plan.state.routes.map((r) => [r.prefix, r.mtuBytes]));

describe('the MTU of a path', () => {
  it('stands on the routes to that node alone, less what wrapping takes', () => {
    const plan = planOf({ '192.168.1.12': 1500, '192.168.2.13': 1400 });
    expect(mtusOf(plan)).toEqual({
      '10.244.2.0/24': undefined,
      'fd00:244:2::/64': undefined,
      '10.244.3.0/24': 1350,
      'fd00:244:3::/64': 1350,
    });
    expect(plan.mtuBytes).toBe(1450);
    expect(plan.state.links.map((l) => l.mtu)).toEqual([1450]);
  });

  it('is of each family by itself where nothing is wrapped', () => {
    const plan = planOf({ '192.168.2.13': 1400, 'fd02::13': 1300 }, { set: gateway });
    expect(mtusOf(plan)).toMatchObject({ '10.244.3.0/24': 1400, 'fd00:244:3::/64': 1300 });
  });

  it('is what pods to come get when no path is wider; devices stay as they are', () => {
    const plan = planOf({ '192.168.1.12': 1300, '192.168.2.13': 1400 }, { stack: 'v4' });
    expect(plan.mtuBytes).toBe(1350);
    expect(mtusOf(plan)).toEqual({ '10.244.2.0/24': 1250, '10.244.3.0/24': 1350 });
    expect(plan.state.links.map((l) => l.mtu)).toEqual([1450]);
  });

  it('is not believed above what this host itself lets through', () => {
    const plan = planOf({ '192.168.1.12': 9000, '192.168.2.13': 9000 });
    expect(plan.mtuBytes).toBe(1450);
    expect(Object.values(mtusOf(plan))).toEqual([undefined, undefined, undefined, undefined]);
  });

  it('too small for IPv6 is named, and IPv6 keeps its least', () => {
    const plan = planOf({ '192.168.2.13': 1300 });
    expect(mtusOf(plan)).toMatchObject({ '10.244.3.0/24': 1250, 'fd00:244:3::/64': 1280 });
    expect(plan.mtuBytes).toBe(1280);
    expect(plan.problems).toEqual([
      {
        node: 'n3',
        text: 'the path to node "n3" leaves 1250 bytes for a pod\'s packet, and IPv6 needs 1280; give the links in between a greater MTU',
      },
    ]);
  });

  it('leaves an MTU that somebody chose to pods, and bounds the routes', () => {
    const plan = planOf({ '192.168.2.13': 1400 }, { set: { mtu: 1400 }, stack: 'v4' });
    expect(plan.mtuBytes).toBe(1400);
    expect(mtusOf(plan)).toEqual({ '10.244.2.0/24': undefined, '10.244.3.0/24': 1350 });
  });

  it('counts for all pods in mode bgp, whose routes are not ours', () => {
    const plan = planOf({ '192.168.1.12': 1400 }, { set: { mode: 'bgp' } });
    expect(plan.mtuBytes).toBe(1400);
  });

  it.each(['vxlan', 'ipip', 'wireguard'] as const)('%s: says where to measure, each address once', (mode) => {
    const { targets } = planOf({}, { set: { mode } });
    expect(targets.filter((t) => t.family === 4)).toEqual([
      { node: 'n2', address: '192.168.1.12', family: 4, mtuBytes: 1500 },
      { node: 'n3', address: '192.168.2.13', family: 4, mtuBytes: 1500 },
    ]);
    expect(new Set(targets.map((t) => t.address)).size).toBe(targets.length);
  });

  it('goes from the routes when it is as wide again', () => {
    const [narrow, wide] = [planOf({ '192.168.2.13': 1400 }).state, planOf({ '192.168.2.13': 1500 }).state];
    expect(diff(narrow, wide)).toMatchObject([
      { op: 'replace-route', route: { prefix: '10.244.3.0/24' } },
      { op: 'replace-route', route: { prefix: 'fd00:244:3::/64' } },
    ]);
    expect(diff(wide, wide)).toEqual([]);
  });

  it("is nobody's business on a route that is not ours", () => {
    const route = { prefix: '10.9.0.0/16', via: '10.0.0.1', dev: 'eth0' };
    const found = { ...emptyState(), routes: [{ ...route, mtuBytes: 1400 }] };
    expect(diff(found, { ...emptyState(), routes: [route] })).toEqual([]);
  });
});

describe("the MTU of the underlay's routes", () => {
  it.each([
    ['to the link', { prefix: '192.168.1.0/24', dev: 'eth0', protocol: 'kernel', mtuBytes: 1400 }],
    ['to one node', { prefix: '192.168.2.13/32', via: '192.168.1.1', dev: 'eth0', mtuBytes: 1400 }],
  ])('%s bounds pods', (_, route) => {
    const routes = [...host.routes.filter((r) => r.prefix !== route.prefix), route];
    expect(planOf({}, { stack: 'v4', facts: { routes } }).mtuBytes).toBe(1350);
  });
});

describe('findPathMtu()', () => {
  /** A path that lets so much through; `says`: its router tells. `lost`: that many pings are lost first, all that they send. */
  function path(mtu: number, { says = false, lost = 0 } = {}) {
    const sent: number[] = [];
    const ping: Ping = async (bytes) => {
      sent.push(bytes);
      const passed = bytes <= mtu && sent.length > lost;
      return { passed, ...(says && bytes > mtu && { said: mtu }) };
    };
    return { ping, sent };
  }

  it('takes one ping where all is well', async () => {
    const { ping, sent } = path(1500);
    expect(await findPathMtu(4, 1500, ping)).toBe(1500);
    expect(sent).toEqual([1500]);
  });

  it('believes a router, once what it says has passed', async () => {
    const { ping, sent } = path(1400, { says: true });
    expect(await findPathMtu(4, 1500, ping)).toBe(1400);
    expect(sent).toEqual([1500, 1400]);
  });

  it.each([1499, 1498, 1400, 1281, 1280])('finds %i where nobody says it', async (mtu) => {
    const { ping, sent } = path(mtu);
    expect(await findPathMtu(6, 1500, ping)).toBe(mtu);
    expect(sent.length).toBeLessThan(20);
  });

  it('takes no lost packet for a narrow path', async () => {
    expect(await findPathMtu(4, 1500, path(1500, { lost: 1 }).ping)).toBe(1500);
  });

  it('knows nothing of a node that does not answer', async () => {
    const { ping, sent } = path(0);
    expect(await findPathMtu(4, 9000, ping)).toBeUndefined();
    expect(sent).toEqual([9000, 576]);
  });
});

describe("nodes' MTUs", () => {
  const traffic = { mode: 'vxlan', sameSubnet: 'tunnel' } as const;
  const lists = { softwareChecksums: [], notAccepted: [], unanswered: [], ways: [], problems: [] };
  const answers = (mtus: number[]) =>
    mtus.map((mtu, i) => ({ node: `n${i + 1}`, cluster: '', traffic, mtu, ...lists }));

  it('that differ are told with the nodes that have them', () => {
    expect(unlikeMtus(answers([1450, 8950, 1450]))).toEqual([
      "pods' MTU is not the same everywhere: 1450 on n1, n3; 8950 on n2",
    ]);
  });

  it('that agree are no remark', () => {
    expect(unlikeMtus(answers([1450, 1450]))).toEqual([]);
  });
});

import { describe, expect, it } from 'vitest';
import { wireguardOf } from '../../src/apply/read.ts';
import { PlanError } from '../../src/plan/cluster.ts';
import { diff } from '../../src/plan/diff.ts';
import { planNode } from '../../src/plan/node.ts';
import { isOurs } from '../../src/plan/overlay.ts';
import { asCommand, render } from '../../src/plan/render.ts';
import type { NodeSettings } from '../../src/plan/settings.ts';
import type { HostFacts } from '../../src/plan/underlay.ts';
import { host, keyOf, type More, type Stack, settings, viewOf } from '../support/cluster.ts';

const keyed: More = (i) => ({ publicKey: keyOf(i) });

function planOf(
  set: Partial<NodeSettings>,
  underlay: Stack,
  pods: Stack,
  more: More = keyed,
  facts?: Partial<HostFacts>,
) {
  return planNode(viewOf(underlay, pods, more), { ...settings, ...set }, { ...host, ...facts });
}

const links = (...more: HostFacts['links'][number][]): Partial<HostFacts> => ({ links: [...host.links, ...more] });

describe('what wrapping takes of the MTU', () => {
  it.each<[Partial<NodeSettings>, Stack, Stack, number]>([
    [{ mode: 'ipip' }, 'v4', 'v4', 1480],
    [{ mode: 'ipip' }, 'v6', 'v4', 1460],
    [{ mode: 'ipip' }, 'dual', 'dual', 1460],
    [{ mode: 'wireguard' }, 'v4', 'dual', 1440],
    [{ mode: 'wireguard' }, 'v6', 'v4', 1420],
    [{ mode: 'wireguard' }, 'dual', 'dual', 1440],
    [{ mode: 'routed', betweenSites: 'wireguard' }, 'dual', 'dual', 1440],
    [{ mode: 'vxlan', betweenSites: 'wireguard' }, 'v6', 'dual', 1420],
  ])('%o, nodes %s, pods %s', (set, underlay, pods, mtu) => {
    const plan = planOf(set, underlay, pods);
    expect(plan.mtuBytes).toBe(mtu);
    for (const link of plan.state.links) expect(link.mtu).toBe(mtu);
  });
});

describe('nodes that see pods as they are', () => {
  const nodesSet = (set: Partial<NodeSettings>): string =>
    /set nodes4 \{[^}]*?elements = \{ ([^}]*) \}/.exec(planOf(set, 'v4', 'v4').state.tables[0]!.text)?.[1] ?? '';

  it('are those on the same link, in modes whose tunnel takes their answer', () => {
    expect(nodesSet({ mode: 'ipip' })).toBe('192.168.1.12');
    expect(nodesSet({ mode: 'wireguard' })).toBe('');
    expect(nodesSet({ mode: 'wireguard', sameSubnet: 'direct' })).toBe('192.168.1.12');
  });
});

describe('IP in IP', () => {
  it('names a node that shares no family with this one, and reaches the rest', () => {
    const more: More = (i) => (i === 3 ? { addresses: ['fd02::13'] } : {});
    const { problems, state } = planOf({ mode: 'ipip' }, 'v4', 'v4', more);
    expect(state.routes.map((r) => r.prefix)).toEqual(['10.244.2.0/24']);
    expect(problems).toEqual([
      {
        node: 'n3',
        text: 'node "n3" shares no address family with this node to wrap its IPv4 podCIDRs in; give both one in the cluster file, or use mode vxlan or wireguard',
      },
    ]);
  });

  it('refuses IPv6 in IPv4, which the kernel does wrong, and carries IPv4', () => {
    const { problems, state, mtuBytes } = planOf({ mode: 'ipip' }, 'v4', 'dual');
    expect(state.routes.map((r) => r.prefix)).toEqual(['10.244.2.0/24', '10.244.3.0/24']);
    expect(state.links.map((l) => l.name)).toEqual(['culvert-ipip']);
    expect(mtuBytes).toBe(1480);
    expect(problems.map((p) => p.text)[0]).toBe(
      'node "n2" or this node has no IPv6 address to wrap its IPv6 podCIDRs in, and the kernel cannot send IPv6 in IPv4 to many nodes; give both one in the cluster file, or use mode vxlan or wireguard',
    );
  });

  it.each<[string, Partial<HostFacts>, Stack, RegExp]>([
    [
      "another's link of our name",
      links({ name: 'culvert-ipip', make: { kind: 'ipip', local: '192.168.1.11' }, alias: 'mine' }),
      'v4',
      /a link named culvert-ipip exists and is not ours.*ip link delete dev culvert-ipip/,
    ],
    [
      "another's tunnel with the same end",
      links({ name: 'flannel.ipip', make: { kind: 'ipip', local: '192.168.1.11' } }),
      'v4',
      /link flannel\.ipip is a tunnel of kind ipip with the same end as ours.*ip link delete dev flannel\.ipip/,
    ],
    [
      'a second external ip6tnl',
      links({ name: 'x', make: { kind: 'ip6tnl', external: true } }),
      'v6',
      /link x is a tunnel of kind ip6tnl/,
    ],
  ])('refuses %s', (_name, facts, underlay, message) => {
    const plan = () => planOf({ mode: 'ipip' }, underlay, 'v4', keyed, facts);
    expect(plan).toThrow(PlanError);
    expect(plan).toThrow(message);
  });

  it("leaves the kernel's fallback devices alone", () => {
    const facts = links(
      { name: 'tunl0', make: { kind: 'ipip', local: 'any' } },
      { name: 'ip6tnl0', make: { kind: 'ip6tnl', external: false } },
    );
    expect(() => planOf({ mode: 'ipip' }, 'v4', 'v4', keyed, facts)).not.toThrow();
    expect(facts.links!.filter((l) => isOurs(l, ''))).toEqual([]);
  });
});

describe('WireGuard', () => {
  const wireguard = (more: More) => planOf({ mode: 'wireguard' }, 'v4', 'v4', more);

  it('names a node without a key, and reaches the rest', () => {
    const { problems, state } = wireguard((i) => (i === 3 ? {} : keyed(i)));
    expect(state.peers.map((p) => p.publicKey)).toEqual([keyOf(2)]);
    expect(problems[0]?.text).toMatch(
      /^node "n3" has no publicKey; run "culvert keys" there and add .* to the cluster file/,
    );
  });

  it.each<[string, More, RegExp]>([
    ['the own key missing in the file', (i) => (i === 1 ? {} : keyed(i)), /node "n1" has no publicKey in the cluster/],
    [
      'another key in the file',
      (i) => keyed(i + 1),
      /node "n1" has publicKey AgIC.* but .*wireguard\.key holds .*AQEB/,
    ],
  ])('refuses %s, with the line to write', (_name, more, message) => {
    expect(() => wireguard(more)).toThrow(PlanError);
    expect(() => wireguard(more)).toThrow(message);
    expect(() => wireguard(more)).toThrow(`publicKey: "${keyOf(1)}"`);
  });

  it('refuses to plan before there is a key', () => {
    const plan = () => planOf({ mode: 'wireguard', wireguard: { port: 1, keepaliveSeconds: 0 } }, 'v4', 'v4');
    expect(plan).toThrow(/no WireGuard key yet; "culvert keys" makes one/);
  });

  it('lets a new key take over before the old one goes', () => {
    const before = wireguard(keyed).state;
    const after = wireguard((i) => ({ publicKey: keyOf(i === 3 ? 9 : i) })).state;
    const lines = diff(before, after).flatMap(render).map(asCommand);
    expect(lines).toEqual([
      `wg set culvert-wg peer ${keyOf(9)} endpoint 192.168.2.13:51820 persistent-keepalive 0 allowed-ips 10.244.3.0/24`,
      `wg set culvert-wg peer ${keyOf(3)} remove`,
    ]);
  });

  it('takes a preshared key away that is no longer wanted', () => {
    const before = wireguard(keyed).state;
    const actual = { ...before, peers: before.peers.map((p) => ({ ...p, preshared: 'ab' })) };
    expect(diff(actual, before).flatMap(render).map(asCommand)[0]).toContain(
      `peer ${keyOf(2)} preshared-key /dev/null endpoint`,
    );
  });

  it('is read back as it was planned, and keeps no secret', () => {
    const { state } = planOf({ mode: 'wireguard' }, 'dual', 'dual');
    const secret = keyOf(77);
    const dump = [
      `${secret}\t${keyOf(1)}\t51820\toff`,
      `${keyOf(2)}\t(none)\t192.168.1.12:51820\tfd00:244:2::/64,10.244.2.0/24\t0\t0\t0\toff`,
      `${keyOf(3)}\t(none)\t192.168.2.13:51820\t10.244.3.0/24,fd00:244:3::/64\t1700000000\t1\t2\toff`,
      '',
    ].join('\n');
    const found = wireguardOf('culvert-wg', dump, () => 'mark');
    expect(diff({ ...state, ...found }, state)).toEqual([]);
    expect(JSON.stringify(found)).not.toContain(secret);
    const withKey = wireguardOf('culvert-wg', dump.replace('(none)', secret), () => 'mark');
    expect(withKey.peers[0]?.preshared).toBe('mark');
    expect(JSON.stringify(withKey)).not.toContain(secret);
  });
});

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { ConfigError } from '../../src/errors.ts';
import { decodeTopology } from '../../src/lab/topology.ts';
import { wire } from '../../src/lab/wiring.ts';

const dir = join(import.meta.dirname, '../../conf/lab');
const load = (file: string) => parse(readFileSync(join(dir, file), 'utf8')) as unknown;

/** A lab as text: wires, then each machine with its addresses and routes. */
function describeLab(document: unknown, overrides = {}): string[] {
  const { wires, states } = wire(decodeTopology(document, overrides), 'lab');
  return [
    ...wires.map((w) => `${w.ends.map((e) => `${e.host}:${e.ifname}`).join(' = ')} mtu ${w.mtuBytes}`),
    ...[...states].flatMap(([host, s]) => [
      `${host}: ${s.addresses.map((a) => `${a.dev} ${a.address}`).join(', ')}`,
      ...s.routes.map((r) => `  ${r.prefix} via ${r.via} dev ${r.dev}`),
    ]),
  ];
}

describe('conf/lab', () => {
  it.each(readdirSync(dir))('%s is a topology', (file) => {
    expect(decodeTopology(load(file)).nodes.length).toBeGreaterThan(1);
  });
});

describe('wire()', () => {
  it('numbers the three nodes of the demo', () => {
    expect(describeLab(load('three-nodes.yaml'))).toEqual([
      'node1:eth0 = lan-a:node1 mtu 1500',
      'node2:eth0 = lan-a:node2 mtu 1500',
      'router:eth0 = lan-a:router mtu 1500',
      'node3:eth0 = router:eth1 mtu 1500',
      'router:eth2 = outside:eth0 mtu 1500',
      'node1: eth0 192.168.1.11/24, eth0 fd00:192:168:1::11/64',
      '  0.0.0.0/0 via 192.168.1.1 dev eth0',
      '  ::/0 via fd00:192:168:1::1 dev eth0',
      'node2: eth0 192.168.1.12/24, eth0 fd00:192:168:1::12/64',
      '  0.0.0.0/0 via 192.168.1.1 dev eth0',
      '  ::/0 via fd00:192:168:1::1 dev eth0',
      'node3: eth0 192.168.2.13/24, eth0 fd00:192:168:2::13/64',
      '  0.0.0.0/0 via 192.168.2.1 dev eth0',
      '  ::/0 via fd00:192:168:2::1 dev eth0',
      'router: eth0 192.168.1.1/24, eth0 fd00:192:168:1::1/64, eth1 192.168.2.1/24, eth1 fd00:192:168:2::1/64, eth2 203.0.113.1/24, eth2 2001:db8:113::1/64',
      'outside: eth0 203.0.113.80/24, eth0 2001:db8:113::80/64',
      '  192.168.1.0/24 via 203.0.113.1 dev eth0',
      '  fd00:192:168:1::/64 via 2001:db8:113::1 dev eth0',
      '  192.168.2.0/24 via 203.0.113.1 dev eth0',
      '  fd00:192:168:2::/64 via 2001:db8:113::1 dev eth0',
      'lan-a: ',
    ]);
  });

  it('teaches the router the pod ranges when the nodes are routed', () => {
    const lines = describeLab(load('three-nodes.yaml'), { mode: 'routed' });
    expect(lines.slice(lines.findIndex((l) => l.startsWith('router: ')) + 1).slice(0, 6)).toEqual([
      '  10.244.1.0/24 via 192.168.1.11 dev eth0',
      '  fd00:10:244:1::/64 via fd00:192:168:1::11 dev eth0',
      '  10.244.2.0/24 via 192.168.1.12 dev eth0',
      '  fd00:10:244:2::/64 via fd00:192:168:1::12 dev eth0',
      '  10.244.3.0/24 via 192.168.2.13 dev eth1',
      '  fd00:10:244:3::/64 via fd00:192:168:2::13 dev eth1',
    ]);
  });

  it('leads over two routers, and static routes to the port of their next hop', () => {
    const lines = describeLab(load('spelled-out.yaml'));
    const of = (host: string) => {
      const rest = lines.slice(lines.findIndex((l) => l.startsWith(`${host}: `)) + 1);
      return rest.slice(
        0,
        rest.findIndex((l) => !l.startsWith(' ')),
      );
    };
    expect(of('rack')).toEqual(['  0.0.0.0/0 via 10.1.2.1 dev eth0', '  ::/0 via fd01:2::1 dev eth0']);
    expect(of('datacentre-gw')).toEqual([
      '  10.1.0.0/24 via 10.1.255.1 dev eth1',
      '  fd01:1::/64 via fd01:ff::1 dev eth1',
      '  203.0.113.0/24 via 10.1.255.1 dev eth1',
      '  2001:db8:113::/64 via fd01:ff::1 dev eth1',
      '  198.51.100.0/24 via 10.1.255.1 dev eth1',
    ]);
  });

  it('gives an interface the same Ethernet address every time, and each its own', () => {
    const macs = () =>
      wire(decodeTopology(load('three-nodes.yaml')), 'lab').wires.flatMap((w) => w.ends.map((e) => e.mac));
    expect(macs()).toEqual(macs());
    expect(new Set(macs()).size).toBe(10);
  });
});

const one = { segments: ['lan'], nodes: { n: { segments: ['lan'] } } };

describe('decodeTopology()', () => {
  const wrong: [string, unknown, string][] = [
    ['no mapping', [], 'document: got [], want a mapping'],
    [
      'an unknown key',
      { ...one, node: {} },
      'document: got "node", want no other keys than families, segments, nodes, routers, outside, agent',
    ],
    [
      'an unknown key of a node',
      { ...one, nodes: { n: { segments: ['lan'], pod: 1 } } },
      'nodes.n: got "pod", want no other keys than segments, podCIDRs, site, pods, agent',
    ],
    [
      'a bad name',
      { ...one, nodes: { 'N/1': { segments: ['lan'] } } },
      'nodes.N/1: got "N/1", want a name: 1 to 32 lower case letters, digits and "-"',
    ],
    ['no nodes', { ...one, nodes: {} }, 'nodes: got {}, want at least one node'],
    ['a wrong family', { ...one, families: [5] }, 'families[0]: got 5, want 4 or 6'],
    [
      'a wrong prefix',
      { ...one, segments: { lan: { prefixes: ['10.0.0.0'] } } },
      'segments.lan.prefixes[0]: got "10.0.0.0", want an address with a prefix length such as "10.1.0.0/16"',
    ],
    [
      'a small MTU',
      { ...one, segments: { lan: { mtu: 100 } } },
      'segments.lan.mtu: got 100, want a whole number from 1280 to 65535',
    ],
    [
      'a segment that is not there',
      { ...one, nodes: { n: { segments: ['wan'] } } },
      'nodes.n.segments.wan: got "wan", want one of the segments lan',
    ],
    [
      'a node without a segment',
      { ...one, nodes: { n: { segments: [] } } },
      'nodes.n.segments: got [], want at least one segment',
    ],
    [
      'an address outside its segment',
      { ...one, nodes: { n: { segments: { lan: ['10.9.9.9/24'] } } } },
      'nodes.n.segments.lan: got "10.9.9.9/24", want an address in 192.168.1.0/24 or fd00:192:168:1::/64',
    ],
    [
      'an address twice',
      { ...one, nodes: { n: { segments: ['lan'] }, m: { segments: { lan: ['192.168.1.11/24'] } } } },
      'nodes.m.segments.lan: got "192.168.1.11", want an address that nodes.n.segments.lan does not have',
    ],
    [
      'a segment that is too small',
      { ...one, segments: { lan: { prefixes: ['10.0.0.0/30'] } } },
      'nodes.n.segments.lan: got "10.0.0.0/30", want a prefix with room for host number 11, or addresses spelled out',
    ],
    [
      'pods without measure',
      { ...one, nodes: { n: { segments: ['lan'], pods: -1 } } },
      'nodes.n.pods: got -1, want how many pods (0 to 100), or a list of their names',
    ],
    [
      'a name twice',
      { ...one, nodes: { n: { segments: ['lan'], pods: ['lan'] } } },
      'pods.lan: got "lan", want a name that is not also in segments',
    ],
    [
      'podCIDRs that overlap',
      {
        ...one,
        nodes: {
          n: { segments: ['lan'], podCIDRs: ['10.0.0.0/16'] },
          m: { segments: ['lan'], podCIDRs: ['10.0.7.0/24'] },
        },
      },
      'nodes.m.podCIDRs: got "10.0.7.0/24", want a prefix apart from 10.0.0.0/16 of node n',
    ],
    [
      'a podCIDR on a segment',
      { ...one, nodes: { n: { segments: ['lan'], podCIDRs: ['192.168.0.0/16'] } } },
      'nodes.n.podCIDRs: got "192.168.0.0/16", want a prefix apart from 192.168.1.0/24 of segment lan',
    ],
    [
      'a podCIDR with host bits',
      { ...one, nodes: { n: { segments: ['lan'], podCIDRs: ['10.0.0.1/24'] } } },
      'nodes.n.podCIDRs: got "10.0.0.1/24", want a network: no bits set after the prefix length',
    ],
    [
      'a setting that is the lab’s',
      { ...one, agent: { node: 'x' } },
      'agent.node: got "x", want nothing here: the lab sets it for each node',
    ],
    [
      'a next hop that is no address',
      { ...one, routers: { r: { segments: ['lan'], routes: [{ to: '10.0.0.0/8', via: 'r2' }] } } },
      'routers.r.routes: got "r2", want the address of a next hop',
    ],
    [
      'an outside that is nowhere',
      { ...one, outside: 'wan' },
      'outside.segment.wan: got "wan", want one of the segments lan',
    ],
  ];
  it.each(wrong)('names %s', (_name, document, message) => {
    expect(() => decodeTopology(document)).toThrow(ConfigError);
    expect(messageOf(document)).toBe(message);
  });

  it('names everything that is wrong, not the first', () => {
    expect(messageOf({ ...one, families: [5], segments: { lan: { mtu: 1 } } })).toMatch(/families.*segments\.lan\.mtu/);
  });
});

function messageOf(document: unknown): string {
  try {
    decodeTopology(document);
    return 'no error';
  } catch (error) {
    return (error as Error).message;
  }
}

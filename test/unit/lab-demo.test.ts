import { describe, expect, it } from 'vitest';
import { parsePackets } from '../../src/lab/capture.ts';
import { checkPings, checkSight, type Round } from '../../src/lab/check.ts';
import { parseSettings } from '../../src/lab/command.ts';
import type { Endpoint, Ping } from '../../src/lab/ping.ts';
import { table } from '../../src/lab/table.ts';
import { median } from '../../src/lab/throughput.ts';
import { decodeTopology } from '../../src/lab/topology.ts';

describe('parsePackets()', () => {
  it('puts an encapsulated packet and its envelope together', () => {
    const text = `IP 192.168.1.11.52979 > 192.168.2.13.4789: VXLAN, flags [I] (0x08), vni 1
IP 10.244.1.2 > 10.244.3.2: ICMP echo request, id 7, seq 1, length 72
IP6 fd00::b.53347 > fd00::d.8472: VXLAN, flags [I] (0x08), vni 42
IP6 fd00:1::2 > fd00:3::2: ICMP6, echo request, id 8, seq 1, length 72
`;
    expect(parsePackets(text)).toEqual([
      {
        src: '10.244.1.2',
        dst: '10.244.3.2',
        what: 'ICMP echo request, id 7, seq 1, length 72',
        outer: { src: '192.168.1.11', dst: '192.168.2.13', sourcePort: 52979, port: 4789, vni: 1 },
      },
      {
        src: 'fd00:1::2',
        dst: 'fd00:3::2',
        what: 'ICMP6, echo request, id 8, seq 1, length 72',
        outer: { src: 'fd00::b', dst: 'fd00::d', sourcePort: 53347, port: 8472, vni: 42 },
      },
    ]);
  });

  it('reads plain packets, with or without the interface before them, and skips other lines', () => {
    const text = `ARP, Request who-has 10.0.0.1 tell 10.0.0.2, length 28
veth12 In  IP 10.0.0.2 > 10.0.0.1: ICMP echo request, id 1, seq 1, length 64
IP6 fe80::1 > ff02::1: ICMP6, router advertisement, length 24
`;
    expect(parsePackets(text).map((p) => [p.src, p.dst, p.outer])).toEqual([
      ['10.0.0.2', '10.0.0.1', undefined],
      ['fe80::1', 'ff02::1', undefined],
    ]);
  });
});

const topology = decodeTopology({
  families: [4],
  segments: ['a', 'b'],
  nodes: { n1: { segments: ['a'], pods: ['p1'] }, n2: { segments: ['b'], pods: ['p2'] } },
  routers: { r: { segments: ['a', 'b'] } },
});
const end = (kind: Endpoint['kind'], host: string, node: string, address: string): Endpoint => ({
  kind,
  host,
  node,
  addresses: { 4: address },
});
const ends = [
  end('pod', 'p1', 'n1', '10.244.1.2'),
  end('pod', 'p2', 'n2', '10.244.2.2'),
  end('node', 'n1', 'n1', '192.168.1.11'),
  end('node', 'n2', 'n2', '192.168.2.12'),
];
const ping = (from: string, to: string, seenAs: string): Ping => ({ from, to, family: 4, ok: true, rttMs: 1, seenAs });
const pings = [
  ping('p1', 'p2', '10.244.1.2'),
  ping('p2', 'p1', '10.244.2.2'),
  ping('p1', 'n1', '10.244.1.2'),
  ping('p1', 'n2', '192.168.1.11'),
  ping('n1', 'p2', '192.168.1.11'),
];
const vxlan: Round = { title: '', settings: { mode: 'vxlan' } };
const routed: Round = { title: '', settings: { mode: 'routed' } };

describe('checkPings()', () => {
  it('finds nothing amiss where a tunnel’s far node sees the pod’s node', () => {
    expect(checkPings(vxlan, topology, ends, pings).filter((c) => !c.ok)).toEqual([]);
  });

  it('wants the pod’s own address everywhere in routed mode', () => {
    expect(checkPings(routed, topology, ends, pings).filter((c) => !c.ok)).toEqual([
      {
        what: 'nodes that know the way back see pods',
        ok: false,
        want: "the pod's own address",
        got: 'p1 > n2 as 192.168.1.11, not 10.244.1.2',
      },
    ]);
  });

  it('names the pings that nobody answered', () => {
    const lost = pings.map((p) => (p.from === 'p2' ? { ...p, ok: false } : p));
    expect(checkPings(vxlan, topology, ends, lost)[0]!.got).toBe('1 of 2 pings answered; not p2 > p1 IPv4');
  });
});

describe('checkSight()', () => {
  const sight = { from: 'p1', to: 'p2', fromNode: 'n1', toNode: 'n2', family: 4, where: 'r eth0' } as const;
  const packet = { src: '10.244.1.2', dst: '10.244.2.2', what: '' };
  const outer = { src: '', dst: '', sourcePort: 1, port: 4789, vni: 1 };

  it.each([
    [vxlan, { ...packet, outer }, true],
    [vxlan, packet, false],
    [routed, packet, true],
    [routed, { ...packet, outer }, false],
    [routed, undefined, false],
  ])('judges what was seen %#', (round, seen, ok) => {
    expect(checkSight(round, topology, { ...sight, packet: seen }).ok).toBe(ok);
  });
});

describe('parseSettings()', () => {
  it('reads values as YAML', () => {
    expect(parseSettings(['mode=routed', 'mtu=1400', 'masquerade=false', 'vxlan={id: 7}'])).toEqual({
      mode: 'routed',
      mtu: 1400,
      masquerade: false,
      vxlan: { id: 7 },
    });
  });

  it('refuses what has no key or no value', () => {
    expect(() => parseSettings(['mode'])).toThrow('--set: got "mode", want KEY=VALUE such as mode=routed');
  });
});

describe('table()', () => {
  it('makes columns as wide as their cells, in characters', () => {
    expect(
      table(
        [
          ['a', 'µs'],
          ['✓✓', '7'],
          ['', '12'],
        ],
        ['left', 'right'],
      ),
    ).toEqual(['a   µs', '✓✓   7', '    12']);
  });
});

describe('median()', () => {
  it.each([
    [[3, 1, 2], 2],
    [[4, 1, 3, 2], 2.5],
  ])('of %j is %d', (values, want) => {
    expect(median(values)).toBe(want);
  });
});

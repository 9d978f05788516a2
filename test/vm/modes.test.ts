/** Every mode between machines with Debian's own kernel, in one subnet and across a router: who reaches whom, and what it looks like on the segment. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { Family } from '../../src/net/address.ts';
import { checkout } from './lab/drives.ts';
import { VmLab } from './lab/lab.ts';
import type { Header } from './lab/packet.ts';

/** node1 and node2 on lan-a, node3 behind the router on lan-b. */
const document = parse(readFileSync(join(checkout, 'conf/lab/three-nodes.yaml'), 'utf8')) as {
  nodes: Record<string, object>;
};

const sites: Record<string, string> = { node1: 'north', node2: 'north', node3: 'south' };

/** What carries a pod's packet on the segment, by the packet's own family; `plain` is nothing, `sealed` hides the packet. */
type Carrier = 'plain' | { sealed: Partial<Header> } | Record<Family, Partial<Header>>;

interface Case {
  name: string;
  agent: Record<string, unknown>;
  underlay: Family[];
  same: Carrier;
  across: Carrier;
}

const alike = (header: Partial<Header>): Carrier => ({ 4: header, 6: header });

const from4 = { src: '192.168.1.11', ttl: 64 };
const from6 = { src: 'fd00:192:168:1::11', ttl: 64 };
const vxlan = { protocol: 17, port: 4789, vni: 1 };
const vxlan4 = alike({ ...from4, ...vxlan, dontFragment: false });
const vxlan6 = alike({ ...from6, ...vxlan });
const ipip = { 4: { ...from4, protocol: 4, dontFragment: true }, 6: { ...from6, protocol: 41 } };
const ipip6 = { 4: { ...from6, protocol: 4 }, 6: { ...from6, protocol: 41 } };
const wireguard = { protocol: 17, sourcePort: 51820, port: 51820 };
const wireguard4 = { sealed: { ...from4, ...wireguard } };
const wireguard6 = { sealed: { ...from6, ...wireguard } };

const everywhere = (carrier: Carrier) => ({ same: carrier, across: carrier });

const cases: Case[] = [
  { name: 'vxlan over IPv4', agent: { mode: 'vxlan' }, underlay: [4], ...everywhere(vxlan4) },
  { name: 'vxlan over IPv6', agent: { mode: 'vxlan' }, underlay: [6], ...everywhere(vxlan6) },
  {
    name: 'vxlan, direct in one subnet',
    agent: { mode: 'vxlan', sameSubnet: 'direct' },
    underlay: [4, 6],
    same: 'plain',
    across: vxlan4,
  },
  { name: 'ipip, each family in its own', agent: { mode: 'ipip' }, underlay: [4, 6], ...everywhere(ipip) },
  { name: 'ipip over IPv6', agent: { mode: 'ipip' }, underlay: [6], ...everywhere(ipip6) },
  { name: 'wireguard over IPv4', agent: { mode: 'wireguard' }, underlay: [4], ...everywhere(wireguard4) },
  { name: 'wireguard over IPv6', agent: { mode: 'wireguard' }, underlay: [6], ...everywhere(wireguard6) },
  { name: 'routed', agent: { mode: 'routed' }, underlay: [4, 6], ...everywhere('plain') },
  {
    name: 'routed in a site, wireguard between sites',
    agent: { mode: 'routed', betweenSites: 'wireguard' },
    underlay: [4, 6],
    same: 'plain',
    across: wireguard4,
  },
];

let lab: VmLab;

beforeAll(async () => {
  // the router knows the podCIDRs, as routed mode needs; what is in a tunnel it does not see
  lab = await VmLab.up({
    ...document,
    nodes: Object.fromEntries(Object.entries(document.nodes).map(([name, n]) => [name, { ...n, site: sites[name] }])),
    routers: { router: { segments: ['lan-a', 'lan-b', 'internet'], podRoutes: true } },
  });
});

afterAll(() => lab?.down());

const isEcho = (h: Header | undefined) => h?.protocol === 1 || h?.protocol === 58;

describe.each(cases)('$name', ({ agent, underlay, same, across }) => {
  beforeAll(async () => {
    await lab.configure({ agent, underlay });
    for (const node of lab.nodes) if (node.pods.length === 0) await node.addPod(`${node.name}-pod`);
  });

  it('pods of every node reach those of every other, in both families', async () => {
    expect(await lab.unreachable()).toEqual([]);
  });

  it.each([
    { to: 'node2', carrier: same, where: 'in one subnet' },
    { to: 'node3', carrier: across, where: 'across a router' },
  ])('$where the segment carries pods’ packets as it should', async ({ to, carrier }) => {
    const from = lab.node('node1').pods[0]!;
    const pod = lab.node(to).pods[0]!;
    const capture = await lab.capture('lan-a', 'ip or ip6');
    expect(await lab.node('node1').unreachable(from.name, Object.values(pod.addresses))).toEqual([]);
    const packets = await capture.stop();
    const toPod = packets.filter((headers) => headers.some((h) => Object.values(pod.addresses).includes(h.dst)));
    if (typeof carrier === 'object' && 'sealed' in carrier) {
      expect(toPod).toEqual([]);
      expect(packets).toContainEqual([expect.objectContaining(carrier.sealed)]);
      return;
    }
    const echoes = toPod.filter((headers) => isEcho(headers.at(-1)));
    expect(echoes.map((e) => e.at(-1)!.dst)).toEqual(expect.arrayContaining(Object.values(pod.addresses)));
    for (const headers of echoes) {
      const outer = headers.slice(0, -1);
      if (carrier === 'plain') expect(outer).toEqual([]);
      else expect(outer).toMatchObject([carrier[headers.at(-1)!.protocol === 1 ? 4 : 6]]);
    }
  });
});

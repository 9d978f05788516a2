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
const document = parse(readFileSync(join(checkout, 'conf/lab/three-nodes.yaml'), 'utf8')) as object;

/** What carries a pod's packet on the segment; `plain` is nothing. */
type Carrier = Partial<Header> | 'plain';

interface Case {
  name: string;
  agent: Record<string, unknown>;
  underlay: Family[];
  same: Carrier;
  across: Carrier;
}

const vxlan4 = { protocol: 17, port: 4789, vni: 1, src: '192.168.1.11', ttl: 64, dontFragment: false };
const vxlan6 = { protocol: 17, port: 4789, vni: 1, src: 'fd00:192:168:1::11', ttl: 64 };

const cases: Case[] = [
  { name: 'vxlan over IPv4', agent: { mode: 'vxlan' }, underlay: [4], same: vxlan4, across: vxlan4 },
  { name: 'vxlan over IPv6', agent: { mode: 'vxlan' }, underlay: [6], same: vxlan6, across: vxlan6 },
  {
    name: 'vxlan, direct in one subnet',
    agent: { mode: 'vxlan', sameSubnet: 'direct' },
    underlay: [4, 6],
    same: 'plain',
    across: vxlan4,
  },
  { name: 'routed', agent: { mode: 'routed' }, underlay: [4, 6], same: 'plain', across: 'plain' },
];

let lab: VmLab;

beforeAll(async () => {
  // the router knows the podCIDRs, as routed mode needs; what is in a tunnel it does not see
  lab = await VmLab.up({
    ...document,
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
    const packets = (await capture.stop()).filter((headers) =>
      headers.some((h) => h.dst === pod.addresses[4] || h.dst === pod.addresses[6]),
    );
    const echoes = packets.filter((headers) => isEcho(headers.at(-1)));
    expect(echoes.map((e) => e.at(-1)!.dst)).toEqual(expect.arrayContaining(Object.values(pod.addresses)));
    for (const headers of echoes) {
      if (carrier === 'plain') expect(headers).toHaveLength(1);
      else {
        expect(headers).toHaveLength(2);
        expect(headers[0]).toMatchObject(carrier);
      }
    }
  });
});

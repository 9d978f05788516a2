/** Every mode between machines with Debian's own kernel, in one subnet and across a router: who reaches whom, and what it looks like on the segment. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { Family } from '../../src/net/address.ts';
import { type Carrier, carriers, expectCarrier } from './lab/carrier.ts';
import { checkout } from './lab/drives.ts';
import { VmLab } from './lab/lab.ts';

/** node1 and node2 on lan-a, node3 behind the router on lan-b. */
const document = parse(readFileSync(join(checkout, 'conf/lab/three-nodes.yaml'), 'utf8')) as {
  nodes: Record<string, object>;
};

const sites: Record<string, string> = { node1: 'north', node2: 'north', node3: 'south' };

interface Case {
  name: string;
  agent: Record<string, unknown>;
  underlay: Family[];
  same: Carrier;
  across: Carrier;
}

const { vxlan4, vxlan6, ipip, ipip6, wireguard4, wireguard6, plain } = carriers;
const everywhere = (carrier: Carrier) => ({ same: carrier, across: carrier });

const cases: Case[] = [
  { name: 'vxlan over IPv4', agent: { mode: 'vxlan' }, underlay: [4], ...everywhere(vxlan4) },
  { name: 'vxlan over IPv6', agent: { mode: 'vxlan' }, underlay: [6], ...everywhere(vxlan6) },
  {
    name: 'vxlan, direct in one subnet',
    agent: { mode: 'vxlan', sameSubnet: 'direct' },
    underlay: [4, 6],
    same: plain,
    across: vxlan4,
  },
  { name: 'ipip, each family in its own', agent: { mode: 'ipip' }, underlay: [4, 6], ...everywhere(ipip) },
  { name: 'ipip over IPv6', agent: { mode: 'ipip' }, underlay: [6], ...everywhere(ipip6) },
  { name: 'wireguard over IPv4', agent: { mode: 'wireguard' }, underlay: [4], ...everywhere(wireguard4) },
  { name: 'wireguard over IPv6', agent: { mode: 'wireguard' }, underlay: [6], ...everywhere(wireguard6) },
  { name: 'routed', agent: { mode: 'routed' }, underlay: [4, 6], ...everywhere(plain) },
  {
    name: 'routed in a site, wireguard between sites',
    agent: { mode: 'routed', betweenSites: 'wireguard' },
    underlay: [4, 6],
    same: plain,
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
    await expectCarrier(lab, lab.node('node1'), lab.node(to), carrier);
  });
});

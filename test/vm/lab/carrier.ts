/** What carries a pod's packet on a segment. */

import { expect } from 'vitest';
import type { Family } from '../../../src/net/address.ts';
import type { VmLab } from './lab.ts';
import type { LabNode } from './node.ts';
import type { Header } from './packet.ts';

/** By the packet's own family; `plain` is nothing, `sealed` hides the packet. */
export type Carrier = 'plain' | { sealed: Partial<Header> } | Record<Family, Partial<Header>>;

const alike = (header: Partial<Header>): Carrier => ({ 4: header, 6: header });

const from4 = { src: '192.168.1.11', ttl: 64 };
const from6 = { src: 'fd00:192:168:1::11', ttl: 64 };
const vxlan = { protocol: 17, port: 4789, vni: 1 };
const wireguard = { protocol: 17, sourcePort: 51820, port: 51820 };

/** From the first node of lan-a, by mode and the family of the nodes' addresses. */
export const carriers = {
  vxlan4: alike({ ...from4, ...vxlan, dontFragment: false }),
  vxlan6: alike({ ...from6, ...vxlan }),
  ipip: { 4: { ...from4, protocol: 4, dontFragment: true }, 6: { ...from6, protocol: 41 } },
  ipip6: { 4: { ...from6, protocol: 4 }, 6: { ...from6, protocol: 41 } },
  wireguard4: { sealed: { ...from4, ...wireguard } },
  wireguard6: { sealed: { ...from6, ...wireguard } },
  plain: 'plain',
} satisfies Record<string, Carrier>;

const isEcho = (h: Header | undefined) => h?.protocol === 1 || h?.protocol === 58;

/** Pings from one first pod to another in both families, and what lan-a shows of them. */
export async function expectCarrier(lab: VmLab, node: LabNode, to: LabNode, carrier: Carrier): Promise<void> {
  const addresses = Object.values(to.pods[0]!.addresses);
  const capture = await lab.capture('lan-a', 'ip or ip6');
  expect(await node.unreachable(node.pods[0]!.name, addresses)).toEqual([]);
  const packets = await capture.stop();
  const toPod = packets.filter((headers) => headers.some((h) => addresses.includes(h.dst)));
  if (typeof carrier === 'object' && 'sealed' in carrier) {
    expect(toPod).toEqual([]);
    expect(packets).toContainEqual([expect.objectContaining(carrier.sealed)]);
    return;
  }
  const echoes = toPod.filter((headers) => isEcho(headers.at(-1)));
  expect(echoes.map((e) => e.at(-1)!.dst)).toEqual(expect.arrayContaining(addresses));
  for (const headers of echoes) {
    const outer = headers.slice(0, -1);
    if (carrier === 'plain') expect(outer).toEqual([]);
    else expect(outer).toMatchObject([carrier[headers.at(-1)!.protocol === 1 ? 4 : 6]]);
  }
}

/** bridge: VLANs. What is refused everywhere, and what a kernel with bridge VLAN filtering shows. */

import { describe, expect } from 'vitest';
import { attach, link, links } from '../support/bridge.ts';
import { it, needs } from '../support/case.ts';
import { leased } from '../support/ipam.ts';
import type { Host } from '../support/netns.ts';
import { failureOf } from '../support/pod.ts';
import { errorCode } from '../support/suite.ts';

describe('refused', () => {
  it.for([
    { vlan: -1 },
    { vlan: 4095 },
    { vlan: 'ten' },
    { vlanTrunk: 'all' },
    { vlanTrunk: [{ minID: 0, maxID: 10 }] },
    { vlanTrunk: [{ minID: 10, maxID: 4095 }] },
    { vlanTrunk: [{ minID: 20, maxID: 10 }] },
    { vlanTrunk: [{ minID: 10 }] },
    { vlanTrunk: [{ maxID: 10 }] },
    { vlanTrunk: [{ id: 0 }] },
    { vlanTrunk: [{ id: 4095 }] },
    { vlanTrunk: [{ id: 100 }, { minID: 5 }] },
  ])('%j, before anything is made', (keys, { host }) => {
    expect(failureOf(attach(host, keys).call('ADD')).code).toBe(errorCode(7));
    expect(links(host)).toHaveLength(1);
    expect(leased(host)).toEqual([]);
  });
});

interface VlanShown {
  ifname: string;
  vlans: { vlan: number; vlanEnd?: number; flags?: string[] }[];
}

const vlansOf = (host: Host, name: string) =>
  (JSON.parse(host.exec('bridge -j vlan show')) as VlanShown[]).find((v) => v.ifname === name)?.vlans ?? [];

const port = (host: Host, keys: Record<string, unknown>): string => attach(host, keys).add().interfaces![1]!.name;

describe('on a kernel that filters', () => {
  it('vlan is the port’s only one, untagged', ({ host, skip }) => {
    needs({ skip }, 'bridge VLAN filtering');
    expect(vlansOf(host, port(host, { vlan: 100 }))).toEqual([{ vlan: 100, flags: ['PVID', 'Egress Untagged'] }]);
    expect(link(host, 'br0')?.linkinfo).toMatchObject({ info_data: { vlan_filtering: 1 } });
  });

  it('preserveDefaultVlan keeps the bridge’s default beside it', ({ host, skip }) => {
    needs({ skip }, 'bridge VLAN filtering');
    const ids = vlansOf(host, port(host, { vlan: 100, preserveDefaultVlan: true })).map((v) => v.vlan);
    expect(ids).toEqual([1, 100]);
  });

  it('vlanTrunk lets tagged frames of its ids through, and untagged ones into VLAN 1', ({ host, skip }) => {
    needs({ skip }, 'bridge VLAN filtering');
    const vlans = vlansOf(host, port(host, { vlanTrunk: [{ minID: 100, maxID: 102 }, { id: 200 }] }));
    expect(vlans).toEqual([
      { vlan: 1, flags: ['PVID', 'Egress Untagged'] },
      ...[100, 101, 102, 200].map((vlan) => ({ vlan })),
    ]);
  });

  it('containers talk within their VLAN only', ({ host, skip }) => {
    needs({ skip }, 'bridge VLAN filtering');
    const [a, b, c] = [100, 100, 200].map((vlan) => attach(host, { vlan }));
    a!.add();
    const near = b!.add().ips![0]!.address.split('/')[0]!;
    const far = c!.add().ips![0]!.address.split('/')[0]!;
    expect(a!.pings(near)).toBe(true);
    expect(a!.pings(far)).toBe(false);
  });

  it('the gateway of a VLAN is a link of its own', ({ host, skip }) => {
    needs({ skip }, 'bridge VLAN filtering');
    const pod = attach(host, { vlan: 100, isGateway: true });
    const result = pod.add();
    expect(result.interfaces?.[3]?.name).toBe('br0.100');
    expect(pod.pings('10.1.2.1')).toBe(true);
  });
});

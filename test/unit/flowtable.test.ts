import { describe, expect, it } from 'vitest';
import { diff } from '../../src/plan/diff.ts';
import { flowDevices, flowtableTable } from '../../src/plan/flowtable.ts';
import type { LinkState } from '../../src/plan/host.ts';
import { planNode } from '../../src/plan/node.ts';
import type { NodeSettings } from '../../src/plan/settings.ts';
import type { HostFacts } from '../../src/plan/underlay.ts';
import { host, type Stack, settings, viewOf } from '../support/cluster.ts';

const podEnd = (name: string, more: Partial<LinkState> = {}): LinkState => ({
  name,
  make: { kind: 'veth' },
  alias: `culvert:0123abcd:89ef4567 culvert ${name} eth0`,
  ...more,
});

const links = [...host.links, podEnd('vethb'), podEnd('vetha')];

const planOf = (stack: Stack, set: Partial<NodeSettings>, facts: Partial<HostFacts> = { hasFlowtable: true, links }) =>
  planNode(viewOf(stack, stack), { ...settings, ...set }, { ...host, ...facts });

const textOf = (...args: Parameters<typeof planOf>): string | undefined =>
  planOf(...args).state.tables.find((t) => t.name === flowtableTable)?.text;

describe('the flowtable', () => {
  it('is spelled as nft prints it', () => {
    expect(textOf('dual', { flowtable: true })).toBe(`table inet culvert_flowtable {
	flowtable pods {
		hook ingress priority filter
		devices = { culvert-vxlan, eth0, vetha, vethb }
		counter
	}

	chain forward {
		type filter hook forward priority filter + 10; policy accept;
		ip saddr 10.244.1.0/24 meta l4proto { tcp, udp } flow add @pods
		ip6 saddr fd00:244:1::/64 meta l4proto { tcp, udp } flow add @pods
	}
}
`);
  });

  it('is not there unless it is asked for', () => {
    expect(textOf('v4', {})).toBeUndefined();
  });

  it('that the kernel has not got is a problem, but for auto', () => {
    const facts = { hasFlowtable: false };
    expect(planOf('v4', { flowtable: true }, facts).problems.map((p) => p.text)).toEqual([
      'flowtable: this kernel has none, packets take the usual way; load the modules nf_flow_table_inet and nft_flow_offload, or set flowtable: auto',
    ]);
    expect(planOf('v4', { flowtable: 'auto' }, facts).problems).toEqual([]);
    expect(textOf('v4', { flowtable: 'auto' }, facts)).toBeUndefined();
  });

  it('with another pod is written anew, and nothing else is', () => {
    const [before, after] = [
      planOf('v4', { flowtable: 'auto' }),
      planOf('v4', { flowtable: 'auto' }, { hasFlowtable: true, links: [...links, podEnd('vethc')] }),
    ];
    expect(diff(before.state, after.state)).toMatchObject([{ op: 'replace-table', table: { name: flowtableTable } }]);
  });

  it('goes when it is switched off', () => {
    const [on, off] = [planOf('v4', { flowtable: true }), planOf('v4', {})];
    expect(diff(on.state, off.state)).toMatchObject([{ op: 'delete-table', table: { name: flowtableTable } }]);
  });
});

describe('flowDevices()', () => {
  it("takes a bridge in place of its ports, leaves others' links out, and names that nft would not take", () => {
    const found: LinkState[] = [
      podEnd('vetha', { master: 'culvert0' }),
      { name: 'culvert0', make: { kind: 'bridge' } },
      { name: 'docker0', make: { kind: 'bridge' } },
      { name: 'veth1234', make: { kind: 'veth' } },
      podEnd('9veth"'),
    ];
    expect(flowDevices(['eth0.5', 'culvert-vxlan', 'eth0.5'], found, 'culvert0')).toEqual([
      'culvert-vxlan',
      'culvert0',
      'eth0.5',
    ]);
  });
});

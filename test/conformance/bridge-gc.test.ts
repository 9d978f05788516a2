/** bridge: GC removes what vanished attachments left, and nothing else (spec section 2, "GC"); STATUS asks IPAM. */

import { describe, expect } from 'vitest';
import { attach, dualStack, ruleset, veths } from '../support/bridge.ts';
import { it, itOurs } from '../support/case.ts';
import { leased } from '../support/ipam.ts';
import type { Answer, Host } from '../support/netns.ts';
import { failureOf, fine, type Pod } from '../support/pod.ts';

const keys = { isDefaultGateway: true, ipMasq: true };
const valid = (...pods: Pod[]) => pods.map((p) => ({ containerID: p.id, ifname: p.ifname }));

function collect(host: Host, list: unknown, more: Record<string, unknown> = {}): Answer {
  const { conf } = attach(host, { ...keys, ...more }, { ipam: dualStack, name: 'net' });
  return host.call({ plugin: 'bridge', command: 'GC', conf: { ...conf, 'cni.dev/valid-attachments': list } });
}

describe('GC', () => {
  itOurs('of containers that were killed: lease, veth and masquerade go, those of the others stay', ({ host }) => {
    const pods = [1, 2, 3].map(() => attach(host, keys, { ipam: dualStack }));
    for (const pod of pods) pod.add();
    const [gone, stays, gone2] = pods as [Pod, Pod, Pod];
    host.removePod(gone.netns);
    fine(collect(host, valid(stays)));
    expect(leased(host)).toEqual(['10.1.2.3', 'fd00:1:2::3']);
    expect(veths(host)).toHaveLength(1);
    expect(ruleset(host)).not.toMatch(/10\.1\.2\.[24]\b|fd00:1:2::[24]\b/);
    expect(ruleset(host)).toContain('10.1.2.3');
    expect(ruleset(host)).toContain('fd00:1:2::3');
    expect(stays.pings('10.1.2.1')).toBe(true);
    expect(gone2.ip('link').map((l) => l['ifname'])).toEqual(['lo']);
  });

  itOurs('leaves another network on the same bridge alone', ({ host }) => {
    const other = attach(host, keys, { name: 'other' });
    other.add();
    attach(host, keys, { ipam: { subnet: '10.1.2.0/24', rangeStart: '10.1.2.100' } }).add();
    fine(collect(host, []));
    expect(leased(host, 'other')).toEqual(['10.1.2.2']);
    expect(leased(host, 'net')).toEqual([]);
    expect(ruleset(host)).toContain('10.1.2.2');
    expect(ruleset(host)).not.toContain('10.1.2.100');
    expect(other.pings('10.1.2.1')).toBe(true);
  });

  itOurs('leaves links and rules of others alone', ({ host }) => {
    host.exec('ip link add vethdeadbeef type veth peer name mine');
    host.exec('nft -f -', 'table inet mine {\nchain c {\nip saddr 10.1.2.2 counter\n}\n}\n');
    fine(collect(host, []));
    expect(veths(host)).toEqual(['vethdeadbeef']);
    expect(ruleset(host)).toContain('table inet mine');
  });

  itOurs('with all attachments valid changes nothing', ({ host }) => {
    const pods = [1, 2].map(() => attach(host, keys, { ipam: dualStack }));
    for (const pod of pods) pod.add();
    const before = [ruleset(host), veths(host), leased(host)];
    fine(collect(host, valid(...pods)));
    expect([ruleset(host), veths(host), leased(host)]).toEqual(before);
  });

  itOurs('twice is fine, and so is one on a host that never had the network', ({ host }) => {
    fine(collect(host, []));
    fine(collect(host, []));
    expect(veths(host)).toEqual([]);
  });

  itOurs('of interfaces of one container keeps those that are valid', ({ host }) => {
    const pod = attach(host, keys);
    pod.add();
    pod.add({ ifname: 'eth1' });
    fine(collect(host, [{ containerID: pod.id, ifname: 'eth1' }]));
    expect(pod.ip('link').map((l) => l['ifname'])).toEqual(['lo', 'eth1']);
    expect(leased(host)).toEqual(['10.1.2.3']);
  });

  itOurs.for(['all', {}, [5], [{ containerID: 'a' }]])(
    'with the unreadable list %j removes nothing: code 7',
    (list, { host }) => {
      const pod = attach(host, keys);
      pod.add();
      expect(failureOf(collect(host, list)).code).toBe(7);
      expect(leased(host)).toEqual(['10.1.2.2']);
      expect(veths(host)).toHaveLength(1);
    },
  );

  itOurs('after a flush of all rules still collects links and leases', ({ host }) => {
    attach(host, keys).add();
    host.exec('nft flush ruleset');
    fine(collect(host, []));
    expect(leased(host)).toEqual([]);
    expect(veths(host)).toEqual([]);
  });

  itOurs('makes room: a full range gives addresses again', ({ host }) => {
    const ipam = { ranges: [[{ subnet: '10.1.2.0/30' }]] };
    attach(host, keys, { ipam }).add();
    failureOf(attach(host, keys, { ipam }).call('ADD'));
    fine(collect(host, []));
    expect(attach(host, keys, { ipam }).add().ips?.[0]?.address).toBe('10.1.2.2/30');
  });
});

describe('STATUS', () => {
  it('is fine while IPAM has addresses', ({ host }) => {
    fine(attach(host, keys).call('STATUS'));
  });

  itOurs('is that of IPAM when its range is exhausted', ({ host }) => {
    const ipam = { ranges: [[{ subnet: '10.1.2.0/30' }]] };
    const pod = attach(host, keys, { ipam });
    pod.add();
    expect(failureOf(pod.call('STATUS')).code).toBe(50);
  });

  itOurs('of a configuration that ADD would refuse is an error', ({ host }) => {
    expect(failureOf(attach(host, { mtu: 'big' }).call('STATUS')).code).toBe(7);
  });

  it('without ipam is fine and changes nothing', ({ host }) => {
    fine(attach(host, {}, { ipam: undefined }).call('STATUS'));
    expect(veths(host)).toEqual([]);
  });
});

/** bridge: packets. Between containers, to the gateway, and out of the host with and without masquerade, in both families. */

import { describe, expect } from 'vitest';
import { attach, dualStack, ruleset } from '../support/bridge.ts';
import { itOurs } from '../support/case.ts';
import { it } from '../support/fixtures.ts';
import type { Host } from '../support/netns.ts';
import { Outside } from '../support/outside.ts';
import { type CniResult, failureOf, type Pod } from '../support/pod.ts';
import { errorCode, ours } from '../support/suite.ts';

const gateway = { isDefaultGateway: true };
const masquerade = { ...gateway, ipMasq: true };
const families = [4, 6] as const;
const far = (family: 4 | 6): string => Outside.addresses[family === 4 ? 0 : 1];
const near = (family: 4 | 6): string => (family === 4 ? '192.0.2.1' : '2001:db8::1');
const addressOf = (result: CniResult, family: 4 | 6): string =>
  result.ips!.find((ip) => ip.address.includes(':') === (family === 6))!.address.split('/')[0]!;

/** ADD; the reference plugins leave the bridge's IPv6 address tentative, so their cases wait for it. */
function added(pod: Pod): CniResult {
  const result = pod.add();
  while (!ours && pod.host.exec('ip -6 addr show tentative') !== '') pod.host.exec('sleep 0.1');
  return result;
}

const pair = (host: Host, keys: Record<string, unknown>): { a: Pod; toB: CniResult } => {
  const [a, b] = [attach(host, keys, { ipam: dualStack }), attach(host, keys, { ipam: dualStack })];
  added(a);
  return { a, toB: added(b) };
};

describe.each(families)('IPv%d', (family) => {
  it('containers reach each other', ({ host }) => {
    const { a, toB } = pair(host, {});
    expect(a.pings(addressOf(toB, family))).toBe(true);
  });

  it('containers with isolated ports do not, but reach the gateway', ({ host }) => {
    const { a, toB } = pair(host, { ...gateway, portIsolation: true });
    expect(a.pings(addressOf(toB, family))).toBe(false);
    expect(a.pings(family === 4 ? '10.1.2.1' : 'fd00:1:2::1')).toBe(true);
  });

  it('a container reaches its gateway', ({ host }) => {
    const pod = attach(host, gateway, { ipam: dualStack });
    added(pod);
    expect(pod.pings(family === 4 ? '10.1.2.1' : 'fd00:1:2::1')).toBe(true);
  });

  itOurs('the host reaches a container at once after ADD', ({ host }) => {
    const result = attach(host, gateway, { ipam: dualStack }).add();
    expect(host.try(`ping -n -c 1 -W 2 ${addressOf(result, family)}`).status).toBe(0);
  });

  it('without ipMasq a container is seen outside under its own address', ({ host, outside }) => {
    const pod = attach(host, gateway, { ipam: dualStack });
    const result = added(pod);
    expect(pod.pings(far(family))).toBe(true);
    expect(outside.seen(family)).toEqual([addressOf(result, family)]);
  });

  it('with ipMasq it is seen under the host’s', ({ host, outside }) => {
    const pod = attach(host, masquerade, { ipam: dualStack });
    added(pod);
    expect(pod.pings(far(family))).toBe(true);
    expect(outside.seen(family)).toEqual([near(family)]);
  });

  it('with ipMasq containers see each other’s own address', ({ host }) => {
    const { a, toB } = pair(host, masquerade);
    expect(a.pings(addressOf(toB, family))).toBe(true);
    expect(host.try('conntrack -L').stdout).not.toContain('SNAT');
  });

  it('with ipMasq of one container another’s address is left alone', ({ host, outside }) => {
    const plain = attach(host, gateway, { ipam: dualStack });
    added(attach(host, masquerade, { ipam: dualStack }));
    const result = added(plain);
    expect(plain.pings(far(family))).toBe(true);
    expect(outside.seen(family)).toEqual([addressOf(result, family)]);
  });

  it('after DEL the address is masqueraded no more', ({ host, outside }) => {
    const ipam = {
      ranges: family === 4 ? [[{ subnet: '10.1.2.0/30' }]] : [[{ subnet: 'fd00:1:2::/126', rangeEnd: 'fd00:1:2::2' }]],
    };
    const masked = attach(host, masquerade, { ipam });
    added(masked);
    masked.del();
    const plain = attach(host, gateway, { ipam });
    const result = added(plain);
    expect(plain.pings(far(family))).toBe(true);
    expect(outside.seen(family)).toEqual([addressOf(result, family)]);
  });
});

describe('ipMasq', () => {
  it('of the backend nftables makes no rule of iptables', ({ host }) => {
    added(attach(host, { ...masquerade, ipMasqBackend: 'nftables' }));
    expect(ruleset(host)).toContain('masquerade');
    expect(host.exec('iptables-save -t nat')).not.toContain('MASQUERADE');
  });

  it('without ipam is no error', ({ host }) => {
    added(attach(host, { ipMasq: true }, { ipam: undefined }));
  });

  it('of an unknown backend is refused', ({ host }) => {
    const error = failureOf(attach(host, { ...masquerade, ipMasqBackend: 'ebtables' }).call('ADD'));
    expect(error.code).toBe(errorCode(7));
    expect(error.msg).toContain('ebtables');
  });

  itOurs('of the backend iptables is done with nftables, and said once on standard error', ({ host }) => {
    const pod = attach(host, { ...masquerade, ipMasqBackend: 'iptables' });
    const { stderr } = pod.call('ADD');
    expect(stderr.match(/ipMasqBackend/g)).toHaveLength(1);
    expect(ruleset(host)).toContain('10.1.2.2');
    expect(host.exec('iptables-save -t nat')).not.toContain('MASQUERADE');
    pod.del();
    expect(ruleset(host)).not.toContain('10.1.2.2');
  });

  itOurs('writes nothing on standard error when nothing is odd', ({ host }) => {
    expect(attach(host, masquerade, { ipam: dualStack }).call('ADD').stderr).toBe('');
  });

  it('survives a second ADD of an address after a late DEL of its former owner', ({ host, outside }) => {
    const ipam = { ranges: [[{ subnet: '10.1.2.0/30' }]] };
    const first = attach(host, masquerade, { ipam });
    added(first);
    first.exec('ip link del eth0');
    first.del();
    const second = attach(host, masquerade, { ipam });
    added(second);
    first.del();
    expect(second.pings(far(4))).toBe(true);
    expect(outside.seen(4)).toEqual([near(4)]);
  });
});

describe('macspoofchk', () => {
  const spoof = (pod: Pod) => {
    pod.exec('ip link set eth0 address 02:00:00:00:00:99');
    return pod;
  };

  it('drops what a container sends with another MAC', ({ host }) => {
    const pod = attach(host, { ...gateway, macspoofchk: true });
    added(pod);
    expect(pod.pings('10.1.2.1')).toBe(true);
    expect(spoof(pod).pings('10.1.2.1')).toBe(false);
  });

  it('absent: another MAC passes', ({ host }) => {
    const pod = attach(host, gateway);
    added(pod);
    pod.exec('ip link set eth0 address 02:00:00:00:00:99');
    expect(pod.pings('10.1.2.1')).toBe(true);
  });

  it('leaves no rule after DEL', ({ host }) => {
    const pod = attach(host, { ...gateway, macspoofchk: true });
    const mac = added(pod).interfaces![2]!.mac!;
    expect(ruleset(host)).toContain(mac);
    pod.del();
    expect(ruleset(host)).not.toContain(mac);
  });
});

describe('hairpinMode', () => {
  it('lets a container reach itself through the host', ({ host }) => {
    const reaches = (keys: Record<string, unknown>): boolean => {
      const pod = attach(host, { ...gateway, ...keys });
      const ip = addressOf(added(pod), 4);
      const nat = `table ip hairpin { chain pre { type nat hook prerouting priority -100; ip daddr 10.99.0.1 dnat to ${ip}
 }
        chain post { type nat hook postrouting priority 100; ip saddr ${ip} ip daddr ${ip} masquerade
 }
 }`;
      host.exec('nft -f -', nat);
      const answered = pod.pings('10.99.0.1');
      host.exec('nft delete table ip hairpin');
      pod.del();
      return answered;
    };
    expect([reaches({ hairpinMode: true }), reaches({})]).toEqual([true, false]);
  });
});

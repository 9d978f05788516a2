/** bridge: every configuration key, seen in what the kernel has afterwards. */

import { describe, expect } from 'vitest';
import { addressesOn, attach, dualStack, link, links, podAddresses, podRoutes, veths } from '../support/bridge.ts';
import { it, itOurs } from '../support/case.ts';
import { leased } from '../support/ipam.ts';
import { failureOf, Pod } from '../support/pod.ts';
import { errorCode } from '../support/suite.ts';

const isPromiscuous = (l: { promiscuity?: number; flags: string[] } | undefined) =>
  l?.flags.includes('PROMISC') ?? false;

describe('bridge', () => {
  it('is cni0 when not named', ({ host }) => {
    const pod = new Pod(host, { cniVersion: '1.1.0', name: 'net', type: 'bridge' });
    expect(pod.add().interfaces?.[0]?.name).toBe('cni0');
    expect(link(host, 'cni0')).toMatchObject({ linkinfo: { info_kind: 'bridge' } });
  });

  it('is made, named as wanted and up', ({ host }) => {
    attach(host, { bridge: 'blue' }).add();
    expect(link(host, 'blue')).toMatchObject({ linkinfo: { info_kind: 'bridge' } });
    expect(link(host, 'blue')?.flags).toContain('UP');
  });

  itOurs.for(['a b', 'a/b', '..', 'x'.repeat(16), 'a\nb', '-x;y'])(
    '%j is refused or a mere name',
    (bridge, { host }) => {
      const pod = attach(host, { bridge });
      const answer = pod.call('ADD');
      if (bridge === '-x;y') return;
      expect(failureOf(answer).code).toBe(7);
      expect(links(host)).toHaveLength(1);
      expect(leased(host)).toEqual([]);
    },
  );
});

describe('isGateway', () => {
  it('gives the bridge the gateway’s address of each family and turns forwarding on', ({ host }) => {
    attach(host, { isGateway: true }, { ipam: dualStack }).add();
    expect(addressesOn(host, 'br0')).toEqual(['10.1.2.1/24', 'fd00:1:2::1/64']);
    expect(host.exec('cat /proc/sys/net/ipv4/ip_forward').trim()).toBe('1');
    expect(host.exec('cat /proc/sys/net/ipv6/conf/all/forwarding').trim()).toBe('1');
  });

  it('absent: the bridge has no address', ({ host }) => {
    attach(host, {}, { ipam: dualStack }).add();
    expect(addressesOn(host, 'br0')).toEqual([]);
  });

  it('absent: forwarding is left alone', ({ host }) => {
    host.exec('sysctl -qw net.ipv4.ip_forward=0');
    attach(host).add();
    expect(host.exec('cat /proc/sys/net/ipv4/ip_forward').trim()).toBe('0');
  });

  it('sets no default route by itself', ({ host }) => {
    const pod = attach(host, { isGateway: true });
    pod.add();
    expect(podRoutes(pod).map((r) => r.dst)).toEqual(['10.1.2.0/24']);
  });

  it('takes the gateway that IPAM names', ({ host }) => {
    attach(host, { isGateway: true }, { ipam: { gateway: '10.1.2.254' } }).add();
    expect(addressesOn(host, 'br0')).toEqual(['10.1.2.254/24']);
  });
});

describe('isDefaultGateway', () => {
  it('makes the host the default route of each family', ({ host }) => {
    const pod = attach(host, { isDefaultGateway: true }, { ipam: dualStack });
    expect(pod.add().routes).toEqual([
      { dst: '0.0.0.0/0', gw: '10.1.2.1' },
      { dst: '::/0', gw: 'fd00:1:2::1' },
    ]);
    expect(podRoutes(pod).find((r) => r.dst === 'default')?.gateway).toBe('10.1.2.1');
    expect(podRoutes(pod, 6).find((r) => r.dst === 'default')?.gateway).toBe('fd00:1:2::1');
    expect(addressesOn(host, 'br0')).toEqual(['10.1.2.1/24', 'fd00:1:2::1/64']);
  });

  it('leaves a default route with a gateway of IPAM as it is', ({ host }) => {
    const pod = attach(host, { isDefaultGateway: true }, { ipam: { routes: [{ dst: '0.0.0.0/0', gw: '10.1.2.9' }] } });
    expect(pod.add().routes).toEqual([{ dst: '0.0.0.0/0', gw: '10.1.2.9' }]);
    expect(podRoutes(pod).find((r) => r.dst === 'default')?.gateway).toBe('10.1.2.9');
  });

  itOurs('together with a default route without gateway is one route', ({ host }) => {
    const pod = attach(host, { isDefaultGateway: true }, { ipam: { routes: [{ dst: '0.0.0.0/0' }] } });
    expect(pod.add().routes?.filter((r) => r['dst'] === '0.0.0.0/0')).toHaveLength(1);
    expect(podRoutes(pod).find((r) => r.dst === 'default')?.gateway).toBe('10.1.2.1');
  });
});

describe('forceAddress', () => {
  const occupied = (host: Parameters<typeof attach>[0], address: string) => {
    host.exec('ip link add br0 type bridge');
    host.exec('ip link set br0 up');
    host.exec(`ip addr add ${address} dev br0 nodad`);
  };

  it('absent: a bridge with another IPv4 address is an error, and keeps it', ({ host }) => {
    occupied(host, '192.0.2.1/24');
    failureOf(attach(host, { isGateway: true }).call('ADD'));
    expect(addressesOn(host, 'br0')).toEqual(['192.0.2.1/24']);
  });

  it('replaces another IPv4 address', ({ host }) => {
    occupied(host, '192.0.2.1/24');
    attach(host, { isGateway: true, forceAddress: true }).add();
    expect(addressesOn(host, 'br0')).toEqual(['10.1.2.1/24']);
  });

  it('absent: an IPv6 address whose subnet overlaps is an error', ({ host }) => {
    occupied(host, 'fd00:1:2::9/64');
    failureOf(attach(host, { isGateway: true }, { ipam: { ranges: [[{ subnet: 'fd00:1:2::/64' }]] } }).call('ADD'));
    expect(addressesOn(host, 'br0')).toEqual(['fd00:1:2::9/64']);
  });

  it('an IPv6 address of another subnet may stay beside', ({ host }) => {
    occupied(host, 'fd00:9::1/64');
    attach(host, { isGateway: true }, { ipam: { ranges: [[{ subnet: 'fd00:1:2::/64' }]] } }).add();
    expect(addressesOn(host, 'br0').sort()).toEqual(['fd00:1:2::1/64', 'fd00:9::1/64']);
  });

  it('the wanted address with another prefix length is another address', ({ host }) => {
    occupied(host, '10.1.2.1/16');
    failureOf(attach(host, { isGateway: true }).call('ADD'));
    attach(host, { isGateway: true, forceAddress: true }).add();
    expect(addressesOn(host, 'br0')).toEqual(['10.1.2.1/24']);
  });

  it('the wanted address that is there already is fine', ({ host }) => {
    occupied(host, '10.1.2.1/24');
    attach(host, { isGateway: true }).add();
    expect(addressesOn(host, 'br0')).toEqual(['10.1.2.1/24']);
  });
});

describe('mtu', () => {
  it('is that of bridge, host end and container end', ({ host }) => {
    const pod = attach(host, { mtu: 1400 });
    const [, veth] = pod.add().interfaces!;
    expect([link(host, 'br0')?.mtu, link(host, veth!.name)?.mtu]).toEqual([1400, 1400]);
    expect(pod.ip('link show eth0')[0]?.['mtu']).toBe(1400);
  });

  it('absent is 1500', ({ host }) => {
    const pod = attach(host);
    pod.add();
    expect(pod.ip('link show eth0')[0]?.['mtu']).toBe(1500);
  });

  itOurs.for([-1, 70_000, 1.5])('%d is refused', (mtu, { host }) => {
    expect(failureOf(attach(host, { mtu }).call('ADD')).code).toBe(7);
  });
});

describe('hairpinMode and promiscMode', () => {
  const port = (host: Parameters<typeof attach>[0], keys: Record<string, unknown>) => {
    const [, veth] = attach(host, keys).add().interfaces!;
    return link(host, veth!.name)?.linkinfo?.info_slave_data;
  };

  it('hairpinMode is on the port', ({ host }) => {
    expect(port(host, { hairpinMode: true })).toMatchObject({ hairpin: true });
    expect(port(host, {})).toMatchObject({ hairpin: false });
  });

  it('promiscMode is on the bridge', ({ host }) => {
    attach(host, { promiscMode: true }).add();
    expect(isPromiscuous(link(host, 'br0'))).toBe(true);
  });

  it('absent: the bridge is not promiscuous', ({ host }) => {
    attach(host).add();
    expect(isPromiscuous(link(host, 'br0'))).toBe(false);
  });

  it('both at once are refused, before anything is made', ({ host }) => {
    const error = failureOf(attach(host, { hairpinMode: true, promiscMode: true }).call('ADD'));
    expect(error.code).toBe(errorCode(7));
    expect(links(host)).toHaveLength(1);
    expect(leased(host)).toEqual([]);
  });

  it('portIsolation is on the port', ({ host }) => {
    expect(port(host, { portIsolation: true })).toMatchObject({ isolated: true });
    expect(port(host, {})).toMatchObject({ isolated: false });
  });
});

describe('disableContainerInterface', () => {
  it('leaves the container’s end down', ({ host }) => {
    const pod = attach(host, { disableContainerInterface: true }, { ipam: undefined });
    const result = pod.add();
    expect(result.interfaces?.[2]).toMatchObject({ name: 'eth0', sandbox: pod.netns });
    expect(pod.ip<{ flags: string[] }>('link show eth0')[0]?.flags).not.toContain('UP');
  });

  it('together with ipam is refused', ({ host }) => {
    const error = failureOf(attach(host, { disableContainerInterface: true }).call('ADD'));
    expect(error.code).toBe(errorCode(7));
    expect(leased(host)).toEqual([]);
  });
});

describe('ipam', () => {
  it.for([undefined, {}, { type: '' }])('%j: layer 2 only', (ipam, { host }) => {
    const pod = attach(host, ipam ? { ipam } : {}, { ipam: undefined });
    const result = pod.add();
    expect(result.interfaces).toHaveLength(3);
    expect(result.ips ?? []).toEqual([]);
    expect(result.routes ?? []).toEqual([]);
    expect(pod.ip<{ flags: string[] }>('link show eth0')[0]?.flags).toContain('UP');
    expect(podAddresses(pod)).toEqual([]);
    expect(veths(host)).toEqual([result.interfaces![1]!.name]);
    pod.del();
    expect(veths(host)).toEqual([]);
  });
});

describe('enabledad', () => {
  it.for([true, false])('%j: no address is tentative when ADD has answered', (enabledad, { host }) => {
    const pod = attach(host, { enabledad, isGateway: true }, { ipam: dualStack });
    pod.add();
    expect(pod.exec('ip -6 addr show dev eth0 scope global tentative')).toBe('');
    expect(podAddresses(pod)).toEqual(['10.1.2.2/24', 'fd00:1:2::2/64']);
  });

  it('absent: addresses are not checked for duplicates, so that there is nothing to wait for', ({ host }) => {
    const pod = attach(host, { isGateway: true }, { ipam: dualStack });
    pod.add();
    expect(pod.exec('ip -6 addr show dev eth0 scope global')).toContain(' nodad');
    expect(host.exec('ip -6 addr show scope global')).not.toContain('tentative');
  });
});

describe('the MAC', () => {
  const mac = (n: number) => `02:00:00:00:00:0${n}`;
  const runtime = { runtimeConfig: { mac: mac(1) } };
  const args = { args: { cni: { mac: mac(2) } } };
  const variable = `IgnoreUnknown=1;MAC=${mac(3)}`;

  it.for([
    ['by runtimeConfig', runtime, '', mac(1)],
    ['by args', args, '', mac(2)],
    ['by CNI_ARGS', {}, variable, mac(3)],
    ['by runtimeConfig before args', { ...runtime, ...args }, '', mac(1)],
    ['by runtimeConfig before CNI_ARGS', runtime, variable, mac(1)],
    ['by args before CNI_ARGS', args, variable, mac(2)],
    ['in upper case', { runtimeConfig: { mac: '02:AA:BB:CC:DD:EE' } }, '', '02:aa:bb:cc:dd:ee'],
  ] as const)('asked for %s is the container’s', ([, keys, cniArgs, want], { host }) => {
    const pod = attach(host, keys);
    expect(pod.add({ args: cniArgs }).interfaces?.[2]?.mac).toBe(want);
    expect(pod.ip('link show eth0')[0]?.['address']).toBe(want);
  });

  it.for(['nonsense', '02:00:00:00:00', '02:00:00:00:00:zz'])(
    '%j is refused and nothing is left',
    (wrong, { host }) => {
      const pod = attach(host, { runtimeConfig: { mac: wrong } });
      expect(failureOf(pod.call('ADD')).code).toBe(errorCode(7));
      expect(veths(host)).toEqual([]);
      expect(leased(host)).toEqual([]);
    },
  );

  itOurs.for(['01:00:5e:00:00:01', '00:00:00:00:00:00', 'ff:ff:ff:ff:ff:ff'])(
    '%j, which no link can have, is refused',
    (wrong, { host }) => {
      expect(failureOf(attach(host, { runtimeConfig: { mac: wrong } }).call('ADD')).code).toBe(7);
    },
  );
});

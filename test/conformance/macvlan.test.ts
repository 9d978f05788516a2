/** macvlan: modes, MAC addresses, packets. What it has in common with other devices is in device.test.ts. */

import { describe, expect } from 'vitest';
import { itOurs, needs, it as withHost } from '../support/case.ts';
import { device, type Keys, linksIn, makeMaster, shownIn } from '../support/device.ts';
import type { Host } from '../support/netns.ts';
import { Outside } from '../support/outside.ts';
import { failureOf, fine, type Pod } from '../support/pod.ts';
import { errorCode, ours } from '../support/suite.ts';

const it = withHost;
const mac = '02:00:00:00:00:99';
const other = '02:00:00:00:00:01';

function attach(host: Host, keys: Keys = {}): Pod {
  makeMaster(host);
  return device(host, 'macvlan', { master: 'm0', ...keys });
}

const modeOf = (pod: Pod) => shownIn(pod)?.linkinfo?.info_data?.['mode'];

describe('mode', () => {
  it.for([undefined, '', 'bridge', 'private', 'vepa', 'passthru'])('%j', (mode, { host, skip }) => {
    needs({ skip }, 'macvlan');
    const pod = attach(host, { mode });
    fine(pod.check(pod.add()));
    expect(modeOf(pod)).toBe(mode || 'bridge');
  });

  it('that is another than CHECK expects is named', ({ host, skip }) => {
    needs({ skip }, 'macvlan');
    const pod = attach(host, { mode: 'vepa' });
    const prevResult = pod.add();
    const error = failureOf(pod.call('CHECK', { conf: { ...pod.conf, mode: 'private', prevResult } }));
    expect(error.code).toBe(errorCode(103));
    expect(error.msg).toMatch(/vepa.*private/);
  });
});

describe('the MAC', () => {
  it.for([
    ['of the configuration', { mac }, ''],
    ['of CNI_ARGS before that', { mac: other }, `IgnoreUnknown=1;MAC=${mac}`],
    ['of runtimeConfig before both', { mac: other, runtimeConfig: { mac } }, `IgnoreUnknown=1;MAC=${other}`],
  ] as const)('is that %s', ([, keys, args], { host, skip }) => {
    needs({ skip }, 'macvlan');
    const pod = attach(host, keys);
    expect(pod.add({ args }).interfaces?.[0]?.mac).toBe(mac);
    expect(shownIn(pod)?.address).toBe(mac);
  });

  it('is the master’s in mode passthru', ({ host, skip }) => {
    needs({ skip }, 'macvlan');
    const pod = attach(host, { mode: 'passthru' });
    expect(pod.add().interfaces?.[0]?.mac).toBe('02:00:00:00:00:0a');
  });

  itOurs('asked for in mode passthru is the master’s as well, until DEL', ({ host, skip }) => {
    needs({ skip }, 'macvlan');
    const pod = attach(host, { mode: 'passthru', mac });
    expect(pod.add().interfaces?.[0]?.mac).toBe(mac);
    expect(host.exec('ip link show m0')).toContain(mac);
    pod.del();
    expect(host.exec('ip link show m0')).toContain('02:00:00:00:00:0a');
  });

  itOurs('in CNI_ARGS that is none: code 7', ({ host, skip }) => {
    needs({ skip }, 'macvlan');
    const pod = attach(host);
    expect(failureOf(pod.call('ADD', { args: 'MAC=x' })).code).toBe(7);
    expect(linksIn(pod)).toEqual([]);
  });
});

it('bcqueuelen is that of the device', ({ host, skip }) => {
  needs({ skip }, 'macvlan');
  const pod = attach(host, { bcqueuelen: 500 });
  fine(pod.check(pod.add()));
  expect(shownIn(pod)?.linkinfo?.info_data?.['bcqueuelen']).toBe(500);
});

describe.each([4, 6] as const)('IPv%d', (family) => {
  it('containers reach each other and a machine on the segment, at once', ({ host, skip }) => {
    needs({ skip }, 'macvlan');
    const outside = new Outside(host);
    try {
      const ranges = [
        [{ subnet: '192.0.2.0/24', rangeStart: '192.0.2.10' }],
        [{ subnet: '2001:db8::/64', rangeStart: '2001:db8::10' }],
      ];
      const ipam = { type: 'host-local', dataDir: `${host.dir}/leases`, ranges };
      const [a, b] = [1, 2].map(() => device(host, 'macvlan', { master: 'uplink0', ipam })) as [Pod, Pod];
      a.add();
      const to = b
        .add()
        .ips!.find((ip) => ip.address.includes(':') === (family === 6))!
        .address.split('/')[0]!;
      expect([a.pings(to), a.pings(Outside.addresses[family === 4 ? 0 : 1])]).toEqual([true, true]);
    } finally {
      outside.remove();
    }
  });
});

describe('a killed ADD', () => {
  itOurs(
    'that left the device under its passing name: DEL removes it, the next ADD is not in its way',
    ({ host, skip }) => {
      needs({ skip }, 'macvlan');
      const pod = attach(host);
      const before = pod.add();
      const [name = ''] = /cult[0-9a-f]{8}/.exec(passing(pod)) ?? [];
      pod.exec('ip link set eth0 down');
      pod.exec(`ip link set eth0 name ${name}`);
      pod.del();
      expect(linksIn(pod)).toEqual([]);
      expect(pod.add().ips).not.toEqual(before.ips);
    },
  );
});

/** The name the device passes under: what the kernel logs of an ADD with debugging on. */
function passing(pod: Pod): string {
  const again = pod.call('ADD', { ifname: 'eth0', env: { CULVERT_LOG: 'debug' } });
  if (ours) failureOf(again);
  return again.stderr;
}

/** host-device: the device lent and taken home, whatever happens in between. */

import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { podAddresses, podRoutes } from '../support/bridge.ts';
import { it, itOurs } from '../support/case.ts';
import { type DeviceShown, device, type Keys, linksIn, linksOn, shownIn } from '../support/device.ts';
import { ForeignIpam } from '../support/foreign-ipam.ts';
import { dataDir, leased } from '../support/ipam.ts';
import { binDir, type Host, inside } from '../support/netns.ts';
import { failureOf, fine, type Pod, resultOf } from '../support/pod.ts';
import { errorCode, ours, referenceDir } from '../support/suite.ts';

const mac = '02:00:00:00:00:0d';

/** A container that shall have the device d0 of the host, which has its MAC from us. */
function lent(host: Host, keys: Keys = { device: 'd0' }): Pod {
  host.exec(`ip link add d0 address ${mac} mtu 1400 type veth peer name d1`);
  host.exec('ip link set d0 up');
  return device(host, 'host-device', keys);
}

const onHost = (host: Host, name = 'd0'): DeviceShown | undefined => linksOn(host).find((l) => l.ifname === name);

/** Names of the host's links but for lo. */
const names = (host: Host): string[] =>
  linksOn(host)
    .map((l) => l.ifname)
    .filter((name) => name !== 'lo')
    .sort();

/** A folder with a host-device that sees a /sys of its own network namespace. */
function withSysfs(host: Host): string {
  const bin = join(host.dir, 'bin');
  host.exec(`mkdir ${bin}`);
  const mounted = `mount -t sysfs s /sys && exec ${join(binDir, 'host-device')}`;
  writeFileSync(join(bin, 'host-device'), `#!/bin/sh\nexec unshare -m sh -c '${mounted}'\n`, { mode: 0o755 });
  return bin;
}

describe('ADD', () => {
  it('moves the device, with IPAM’s addresses and routes, its MAC and its MTU', ({ host }) => {
    const pod = lent(host);
    const result = pod.add();
    expect(result.interfaces).toEqual([{ name: 'eth0', mac, sandbox: pod.netns }]);
    expect(result.ips?.map((ip) => [ip.interface, ip.address])).toEqual([
      [0, '10.1.2.2/24'],
      [0, 'fd00:1:2::2/64'],
    ]);
    expect(shownIn(pod)).toMatchObject({ address: mac, mtu: 1400, ifalias: 'd0' });
    expect(shownIn(pod)?.flags).toContain('UP');
    expect(podAddresses(pod)).toEqual(['10.1.2.2/24', 'fd00:1:2::2/64']);
    expect(podRoutes(pod).map((r) => [r.dst, r.gateway])).toContainEqual(['default', '10.1.2.1']);
    expect(names(host)).toEqual(['d1']);
  });

  it('without ipam brings it up', ({ host }) => {
    const pod = lent(host, { device: 'd0', ipam: undefined });
    const result = pod.add();
    expect([result.interfaces?.[0]?.mac, result.ips]).toEqual([mac, undefined]);
    expect(shownIn(pod)?.flags).toContain('UP');
    fine(pod.check(result));
  });

  it.for([
    ['hwaddr', { hwaddr: mac }],
    ['hwaddr in upper case', { hwaddr: mac.toUpperCase() }],
    ['device before hwaddr', { device: 'd0', hwaddr: '02:00:00:00:00:77' }],
  ] as const)('finds it by %s', ([, keys], { host }) => {
    const pod = lent(host, keys);
    pod.add();
    expect(shownIn(pod)?.address).toBe(mac);
    pod.del();
    expect(names(host)).toEqual(['d0', 'd1']);
  });

  it('finds it by kernelpath', ({ host }) => {
    const pod = lent(host, { kernelpath: '/sys/devices/virtual' });
    const bin = withSysfs(host);
    resultOf(pod.call('ADD', { bin }));
    expect(shownIn(pod)?.address).toBe(mac);
  });

  itOurs('says which pciBusID and deviceID there are none of: code 7', ({ host }) => {
    const pod = lent(host, { pciBusID: '0000:ff:1f.7' });
    expect(failureOf(pod.call('ADD')).msg).toContain('pciBusID');
    const conf = { ...pod.conf, pciBusID: undefined, runtimeConfig: { deviceID: 'mlx5_core.sf.999' } };
    expect(failureOf(pod.call('ADD', { conf })).msg).toContain('runtimeConfig.deviceID');
  });

  it.for([
    {},
    { device: '' },
    { device: 5 },
    { device: 'nonesuch' },
    { hwaddr: 'x' },
    { hwaddr: '02:00:00:00:00:77' },
    { kernelpath: '/tmp' },
    { kernelpath: 'sys/devices/virtual' },
    { kernelpath: 7 },
    { pciBusID: '../../../class' },
    { pciBusID: 7 },
    { runtimeConfig: { deviceID: 'nonesuch' } },
    { runtimeConfig: { deviceID: 7 } },
    { device: 'd0', ipam: 'x' },
    { device: 'd0', dns: 'x' },
  ])('refuses %j, with nothing changed', (keys, { host }) => {
    const pod = lent(host, keys);
    const error = failureOf(pod.call('ADD'));
    if (!ours) return;
    expect(error.code).toBe(7);
    expect([names(host), onHost(host)?.flags.includes('UP'), leased(host)]).toEqual([['d0', 'd1'], true, []]);
  });

  itOurs('refuses a path that leaves /sys/devices: code 7', ({ host }) => {
    const pod = lent(host, { kernelpath: '/sys/devices/../class' });
    expect(failureOf(pod.call('ADD')).msg).toContain('kernelpath');
  });

  it('into a container that has such an interface fails, the device is as it was', ({ host }) => {
    const pod = lent(host);
    pod.exec('ip link add eth0 type veth peer name other');
    failureOf(pod.call('ADD'));
    expect(onHost(host)).toMatchObject({ address: mac });
    expect(onHost(host)?.ifalias).toBeUndefined();
    expect(linksIn(pod).sort()).toEqual(['eth0', 'other']);
    if (ours) expect(onHost(host)?.flags).toContain('UP');
  });

  itOurs('that fails in IPAM brings it home as it was: name, alias, group, up', ({ host }) => {
    const foreign = new ForeignIpam(host);
    foreign.answer('ADD', { code: 101, msg: 'none left' }, true);
    const pod = lent(host, { device: 'd0', ipam: { type: 'foreign' } });
    host.exec('ip link set d0 alias uplink');
    expect(failureOf(pod.call('ADD', { path: foreign.path })).code).toBe(101);
    expect(onHost(host)).toMatchObject({ address: mac, ifalias: 'uplink', group: 'default' });
    expect(onHost(host)?.flags).toContain('UP');
    expect(linksIn(pod)).toEqual([]);
  });
});

describe('DEL', () => {
  it('brings the device home under its name, down, and succeeds again', ({ host }) => {
    const pod = lent(host);
    pod.add();
    pod.del();
    expect(onHost(host)).toMatchObject({ address: mac, mtu: 1400, group: 'default' });
    expect(onHost(host)?.ifalias).toBeUndefined();
    expect([linksIn(pod), leased(host)]).toEqual([[], []]);
    if (!ours) return;
    pod.del();
    pod.del({ netns: '' });
    expect(names(host)).toEqual(['d0', 'd1']);
  });

  it('brings it home though the host has a link of the container’s name', ({ host }) => {
    const pod = lent(host);
    host.exec('ip link add eth0 type veth peer name other');
    pod.add();
    pod.del();
    expect(names(host)).toEqual(['d0', 'd1', 'eth0', 'other']);
  });

  itOurs('gives alias and group back as they were', ({ host }) => {
    const pod = lent(host);
    host.exec('ip link set d0 alias the-uplink group 5');
    pod.add();
    expect(shownIn(pod)).toMatchObject({ ifalias: 'd0 the-uplink', group: '5' });
    pod.del();
    expect(onHost(host)).toMatchObject({ ifalias: 'the-uplink', group: '5' });
  });

  itOurs('fails when its name is another’s by now, and brings it home when it is free', ({ host }) => {
    const pod = lent(host);
    pod.add();
    host.exec('ip link add d0 type veth peer name other');
    host.exec('ip link add eth0 type veth peer name another');
    failureOf(pod.call('DEL'));
    expect(shownIn(pod)?.address).toBe(mac);
    host.exec('ip link del d0');
    pod.del();
    expect(onHost(host)?.address).toBe(mac);
  });

  itOurs('without the keys of the configuration brings it home', ({ host }) => {
    const pod = lent(host);
    pod.add();
    const { cniVersion, name, type } = pod.conf;
    fine(pod.call('DEL', { conf: { cniVersion, name, type } }));
    expect(names(host)).toEqual(['d0', 'd1']);
  });

  const damages: [string, (pod: Pod) => void][] = [
    ['the namespace', (pod) => pod.host.removePod(pod.netns)],
    ['the link', (pod) => pod.exec('ip link del eth0')],
    ['the leases', (pod) => rmSync(dataDir(pod.host), { recursive: true })],
  ];
  const subsets = Array.from({ length: 2 ** damages.length }, (_, bits) => damages.filter((_d, i) => bits & (1 << i)));

  itOurs.for(subsets.map((s) => [s.map(([name]) => name).join(', ') || 'nothing', s] as const))(
    'after %s was removed leaves nothing',
    ([, damage], { host }) => {
      const pod = lent(host);
      pod.add();
      for (const [, remove] of damage.toSorted(([a]) => (a === 'the namespace' ? 1 : -1))) remove(pod);
      pod.del();
      pod.del();
      // a virtual device ends with its link, and with its namespace
      const isLost = damage.some(([name]) => name === 'the link' || name === 'the namespace');
      while (isLost && names(host).length > 0) host.exec('sleep 0.1');
      expect([names(host), leased(host)]).toEqual([isLost ? [] : ['d0', 'd1'], []]);
    },
  );

  it('leaves an interface alone that no device of the host became', ({ host }) => {
    const pod = lent(host);
    pod.exec('ip link add eth0 type veth peer name other');
    const answer = pod.call('DEL');
    if (ours) fine(answer);
    expect(linksIn(pod).sort()).toEqual(['eth0', 'other']);
  });

  itOurs('of a device that the reference plugin lent brings it home', ({ host, skip }) => {
    if (!referenceDir) skip('the reference plugins are not installed');
    const pod = lent(host, { device: 'd0', cniVersion: '1.0.0' });
    resultOf(pod.call('ADD', { bin: referenceDir!, path: referenceDir! }));
    pod.del();
    expect(onHost(host)).toMatchObject({ address: mac });
    expect(onHost(host)?.ifalias).toBeUndefined();
  });
});

describe('CHECK, GC and STATUS', () => {
  it.for([
    ['nothing', () => {}, 0],
    ['an address gone', (pod: Pod) => pod.exec('ip addr del 10.1.2.2/24 dev eth0'), 1],
    ['another MAC', (pod: Pod) => pod.exec('ip link set eth0 address 02:00:00:00:00:01'), 1],
    ['the device gone', (pod: Pod) => pod.exec('ip link del eth0'), 1],
  ] as const)('CHECK with %s', ([, damage, status], { host }) => {
    const pod = lent(host);
    const result = pod.add();
    damage(pod);
    const answer = pod.check(result);
    expect(answer.status).toBe(status);
    if (status === 1) expect(failureOf(answer).code).toBe(errorCode(103));
  });

  itOurs('GC frees the leases, leaves devices to their containers; STATUS is fine with the device away', ({ host }) => {
    const pod = lent(host);
    pod.add();
    fine(pod.call('STATUS'));
    fine(pod.call('GC'));
    expect([leased(host), linksIn(pod)]).toEqual([[], ['eth0']]);
  });
});

/** ADD in a process group of its own, killed with all that it started after a time. */
async function killedAdd(pod: Pod, afterMs: number): Promise<void> {
  const argv = inside(pod.host.netns, join(binDir, 'host-device'));
  const names = { CNI_CONTAINERID: pod.id, CNI_NETNS: pod.netns, CNI_IFNAME: 'eth0', CNI_PATH: binDir };
  const env = { PATH: process.env['PATH'] ?? '', CNI_COMMAND: 'ADD', ...names };
  const child: ChildProcess = spawn(argv[0]!, argv.slice(1), {
    env,
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  const gone = new Promise((resolve) => child.on('close', resolve));
  child.stdin!.on('error', () => {}); // killed before it read
  child.stdin!.end(JSON.stringify(pod.conf));
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  try {
    process.kill(-child.pid!, 'SIGKILL');
  } catch {
    // it was faster
  }
  await gone;
}

describe('a killed ADD', () => {
  itOurs('never loses the device: DEL brings it home whenever it was', { timeout: 120_000 }, async ({ host }) => {
    const pod = lent(host);
    const started = performance.now();
    pod.add();
    const whole = performance.now() - started;
    pod.del();
    for (let i = 0; i < 20; i++) {
      await killedAdd(pod, (whole * 1.2 * i) / 20);
      pod.del();
      expect([names(host), onHost(host)?.ifalias, leased(host)]).toEqual([['d0', 'd1'], undefined, []]);
    }
  });
});

/** tuning: what it sets, what it refuses, and that DEL gives the interface back as it was. */

import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { it, itOurs } from '../support/case.ts';
import { binDir, type Host } from '../support/netns.ts';
import { type CniResult, failureOf, fine, Pod, resultOf } from '../support/pod.ts';
import { errorCode, ours } from '../support/suite.ts';

type Keys = Record<string, unknown>;

const backups = (host: Host): string => join(host.dir, 'tuning');
const kept = (host: Host): string[] => (existsSync(backups(host)) ? readdirSync(backups(host)) : []);

/** A container with an interface of some other plugin's making. */
function tuned(host: Host, keys: Keys = {}): Pod {
  const netns = host.pod();
  const prevResult = {
    cniVersion: '1.0.0',
    interfaces: [
      { name: 'br0', mac: '02:00:00:00:00:0b' },
      { name: 'eth0', mac: '02:00:00:00:00:0e', sandbox: netns },
    ],
    ips: [{ address: '10.1.2.9/24', gateway: '10.1.2.1', interface: 1 }],
    routes: [{ dst: '0.0.0.0/0' }],
  };
  const conf = { cniVersion: '1.0.0', name: 'net', type: 'tuning', dataDir: backups(host), prevResult, ...keys };
  const pod = new Pod(host, conf, undefined, netns);
  pod.exec('ip link add eth0 address 02:00:00:00:00:0e type veth peer name other');
  return pod;
}

interface Shown {
  address: string;
  mtu: number;
  /** Left out by ip when it is zero. */
  txqlen?: number;
  flags: string[];
}

function shown(pod: Pod) {
  const link = pod.ip<Shown>('link show dev eth0')[0]!;
  const { address: mac, mtu, txqlen: txQLen = 0, flags } = link;
  return { mac, mtu, txQLen, promisc: flags.includes('PROMISC'), allmulti: flags.includes('ALLMULTI') };
}

const sysctl = (pod: Pod, key: string): string => pod.exec(`cat /proc/sys/${key}`).trim();
const mac = '02:00:00:00:00:99';

describe('the interface', () => {
  it.for([
    ['mac', { mac }, '', { mac }],
    ['mac by CNI_ARGS', { mac: '02:00:00:00:00:01' }, `IgnoreUnknown=1;MAC=${mac}`, { mac }],
    ['mac by runtimeConfig before CNI_ARGS', { runtimeConfig: { mac } }, 'MAC=02:00:00:00:00:01', { mac }],
    [
      'mac by args before runtimeConfig',
      { runtimeConfig: { mac: '02:00:00:00:00:01' }, args: { cni: { mac } } },
      '',
      { mac },
    ],
    ['mtu', { mtu: 1400 }, '', { mtu: 1400 }],
    ['mtu by args', { mtu: 1300, args: { cni: { mtu: 1400 } } }, '', { mtu: 1400 }],
    ['promisc', { promisc: true }, '', { promisc: true }],
    ['promisc by args', { args: { cni: { promisc: true } } }, '', { promisc: true }],
    ['allmulti', { allmulti: true }, '', { allmulti: true }],
    ['allmulti by args', { allmulti: true, args: { cni: { allmulti: false } } }, '', { allmulti: false }],
    ['txQLen', { txQLen: 20_000 }, '', { txQLen: 20_000 }],
    ['txQLen 0', { txQLen: 0 }, '', { txQLen: 0 }],
    ['txQLen by args', { txQLen: 1, args: { cni: { txQLen: 2 } } }, '', { txQLen: 2 }],
    [
      'all at once',
      { mac, mtu: 1400, promisc: true, allmulti: true, txQLen: 5 },
      '',
      { mac, mtu: 1400, promisc: true, allmulti: true, txQLen: 5 },
    ],
  ] as const)('has %s, CHECK is fine with it, and DEL gives it back', ([, keys, args, want], { host }) => {
    const pod = tuned(host, keys);
    const before = shown(pod);
    const result = pod.add({ args });
    expect(shown(pod)).toEqual({ ...before, ...want });
    expect(result.interfaces?.[1]?.mac).toBe('mac' in want ? want.mac : before.mac);
    fine(pod.call('CHECK', { args, conf: { ...pod.conf, prevResult: result } }));
    expect(kept(host)).toEqual([`${pod.id}_eth0.json`]);
    pod.del({ args });
    expect(shown(pod)).toEqual(before);
    expect(kept(host)).toEqual([]);
    pod.del({ args });
  });

  it('without keys is left alone, and the result passed on', ({ host }) => {
    const pod = tuned(host, { sysctl: {}, mtu: 0, mac: '', promisc: false });
    const before = shown(pod);
    const { prevResult } = pod.conf as unknown as { prevResult: CniResult };
    expect(pod.add()).toMatchObject(prevResult);
    expect([shown(pod), kept(host)]).toEqual([before, []]);
  });
});

describe('sysctls', () => {
  it('by dots, by slashes and with the interface’s name put in', ({ host }) => {
    const pod = tuned(host, {
      sysctl: {
        'net.ipv4.conf.all.log_martians': '1',
        'net/core/somaxconn': '500',
        'net.ipv4.conf.IFNAME.arp_filter': '1',
      },
    });
    fine(pod.check(pod.add()));
    const keys = ['ipv4/conf/all/log_martians', 'core/somaxconn', 'ipv4/conf/eth0/arp_filter'];
    expect(keys.map((key) => sysctl(pod, `net/${key}`))).toEqual(['1', '500', '1']);
    expect(host.exec('cat /proc/sys/net/ipv4/conf/all/log_martians').trim()).toBe('0');
  });

  it('by args before the configuration', ({ host }) => {
    const key = 'net.core.somaxconn';
    const pod = tuned(host, { sysctl: { [key]: '400' }, args: { cni: { sysctl: { [key]: '500' } } } });
    pod.add();
    expect(sysctl(pod, 'net/core/somaxconn')).toBe('500');
  });

  itOurs('with several values are compared by their words; args alone do', ({ host }) => {
    const pod = tuned(host, { args: { cni: { sysctl: { 'net.ipv4.ip_local_port_range': '2000 60000' } } } });
    fine(pod.check(pod.add()));
  });
});

describe('refused, with nothing changed, is', () => {
  it.for([
    ['a sysctl outside the network', { sysctl: { 'kernel.msgmax': '1' } }],
    ['one that leaves it by a path', { sysctl: { 'net/../kernel/msgmax': '1' } }],
    ['a sysctl that the kernel has not', { sysctl: { 'net.core.nonesuch': '1' } }],
    ['a value that the kernel does not take', { sysctl: { 'net.core.somaxconn': 'many' } }],
    ['a value that is no string', { sysctl: { 'net.core.somaxconn': 500 } }],
    ['mac', { mac: 'nonsense' }],
    ['mac by args', { args: { cni: { mac: 'nonsense' } } }],
    ['mtu', { mtu: 'big' }],
    ['promisc', { promisc: 'yes' }],
    ['allmulti', { allmulti: 1 }],
    ['txQLen', { txQLen: '5' }],
    ['no prevResult', { prevResult: undefined }],
  ] as const)('%s: code 7', ([, keys], { host }) => {
    const pod = tuned(host, keys);
    const before = shown(pod);
    expect(failureOf(pod.call('ADD')).code).toBe(errorCode(7));
    expect(shown(pod)).toEqual(before);
  });

  it('one sysctl twice', ({ host }) => {
    const pod = tuned(host);
    const text = JSON.stringify(pod.conf).replace(
      /}$/,
      ',"sysctl":{"net.core.somaxconn":"5","net.core.somaxconn":"6"}}',
    );
    expect(failureOf(pod.call('ADD', { conf: text })).code).toBe(errorCode(7));
  });

  it('what the node’s allow list has not', ({ host }) => {
    const etc = join(host.dir, 'etc/cni/tuning');
    mkdirSync(etc, { recursive: true });
    writeFileSync(join(etc, 'allowlist.conf'), '^net\\.core\\.\n\n  ^net.ipv4.conf.IFNAME.[a-z_]*$\n');
    const bin = join(host.dir, 'bin');
    mkdirSync(bin);
    const mounted = `mount --bind ${join(host.dir, 'etc')} /etc && exec ${join(binDir, 'tuning')}`;
    writeFileSync(join(bin, 'tuning'), `#!/bin/sh\nexec unshare -m sh -c '${mounted}'\n`);
    chmodSync(join(bin, 'tuning'), 0o755);
    const call = (key: string) => tuned(host, { sysctl: { [key]: '1' } }).call('ADD', { bin });
    resultOf(call('net.core.somaxconn'));
    resultOf(call('net.ipv4.conf.IFNAME.arp_filter'));
    const error = failureOf(call('net.ipv4.ip_forward'));
    expect(error.code).toBe(errorCode(7));
    expect(error.msg).toContain('net.ipv4.ip_forward');
  });
});

describe('ADD that fails half-way', () => {
  itOurs.for([{ mtu: 10 }, { sysctl: { 'net.core.nonesuch': '1' } }])(
    'by %j leaves the interface as it was',
    (keys, { host }) => {
      const pod = tuned(host, { mac, txQLen: 7, ...keys });
      const before = shown(pod);
      failureOf(pod.call('ADD'));
      expect([shown(pod), kept(host)]).toEqual([before, []]);
    },
  );

  itOurs('because there is no such interface says so: code 7', ({ host }) => {
    const pod = tuned(host, { mac });
    pod.exec('ip link del eth0');
    expect(failureOf(pod.call('ADD')).msg).toContain('eth0');
    expect(kept(host)).toEqual([]);
  });
});

describe('CHECK', () => {
  const keys = { mac, mtu: 1400, promisc: true, allmulti: true, txQLen: 5, sysctl: { 'net.core.somaxconn': '500' } };

  it.for([
    'ip link set eth0 address 02:00:00:00:00:01',
    'ip link set eth0 mtu 1300',
    'ip link set eth0 promisc off',
    'ip link set eth0 allmulticast off',
    'ip link set eth0 txqueuelen 6',
    'ip link del eth0',
    'sysctl -qw net.core.somaxconn=600',
  ])('finds %s', (damage, { host }) => {
    const pod = tuned(host, keys);
    const result = pod.add();
    pod.exec(damage);
    const error = failureOf(pod.check(result));
    expect(error.code).toBe(errorCode(103));
    if (ours) expect(JSON.parse(error.details ?? '')).toHaveLength(1);
  });
});

describe('DEL after damage', () => {
  it.for([
    ['the namespace', (pod: Pod) => pod.host.removePod(pod.netns)],
    ['the interface', (pod: Pod) => pod.exec('ip link del eth0')],
    ['the backup', (pod: Pod) => pod.host.exec(`rm -r ${backups(pod.host)}`)],
    ['the backup’s content', (pod: Pod) => writeFileSync(join(backups(pod.host), `${pod.id}_eth0.json`), '{"mac":')],
  ] as const)('to %s succeeds and leaves no file', ([, damage], { host }) => {
    const pod = tuned(host, { mac });
    pod.add();
    damage(pod);
    pod.del();
    if (ours) expect(kept(host)).toEqual([]);
  });

  itOurs('of a container whose name is too long for a file’s succeeds: it has no backup', ({ host }) => {
    fine(tuned(host, { mac }).call('DEL', { containerId: 'x'.repeat(300) }));
  });

  it('with a backup of the other suite’s form gives the interface back', ({ host }) => {
    const pod = tuned(host, { mac });
    const before = shown(pod);
    pod.add();
    const file = join(backups(host), `${pod.id}_eth0.json`);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ mac: before.mac });
    writeFileSync(file, `{\n "mac": "${before.mac}"\n}`);
    pod.del();
    expect(shown(pod)).toEqual(before);
  });
});

describe('GC and STATUS', () => {
  itOurs('GC removes the network’s backups that no attachment has, STATUS names what is wrong', ({ host }) => {
    const [a, b, other] = [tuned(host, { mac }), tuned(host, { mac }), tuned(host, { mac, name: 'other' })];
    for (const pod of [a, b, other]) pod.add();
    const list = [{ containerID: a.id, ifname: 'eth0' }];
    fine(a.call('GC', { conf: { ...a.conf, cniVersion: '1.1.0', 'cni.dev/valid-attachments': list } }));
    expect(kept(host).sort()).toEqual([`${a.id}_eth0.json`, `${other.id}_eth0.json`].sort());
    fine(a.call('STATUS', { conf: { ...a.conf, cniVersion: '1.1.0' } }));
    expect(failureOf(a.call('STATUS', { conf: { ...a.conf, cniVersion: '1.1.0', mtu: -1 } })).code).toBe(7);
  });
});

/** The container image: it comes up in containerd, and its agent works with the rights and mounts that the DaemonSet gives it. */

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, beforeEach, describe, expect } from 'vitest';
import { until } from '../support/agents.ts';
import { itOnMachine as it } from '../support/fixtures.ts';
import type { Machine } from '../support/machine.ts';
import { podSpec } from '../support/manifests.ts';
import { run } from '../support/netns.ts';

const root = join(import.meta.dirname, '../..');
const [container] = podSpec().containers;
const { image } = container!;

beforeAll(() => {
  run([join(root, 'scripts/image')]);
});

beforeEach<{ machine: Machine }>(async ({ machine }) => {
  machine.start(['containerd'], '/run/containerd.log');
  const deadline = Date.now() + 30_000;
  while (machine.try(['ctr', 'version']).status !== 0) {
    if (Date.now() > deadline) throw new Error(machine.read('/run/containerd.log'));
    await sleep(100);
  }
  machine.run(['ctr', 'images', 'import', '--snapshotter', 'native', join(root, 'dist/culvert-image.tar')]);
});

/** Everything that a runtime gives unasked. */
const usual =
  'CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE';

/** As kubelet would: the DaemonSet's rights, the node's network, a root that cannot be written. */
function asPod(machine: Machine): string[] {
  const { add } = container!.securityContext.capabilities;
  const drop = usual.split(' ').filter((name) => !add.includes(name));
  return [
    ...['ctr', 'run', '--rm', '--snapshotter', 'native', '--net-host', '--read-only', '--seccomp'],
    ...['--cgroup', `/${machine.host.name}/agent`],
    ...add.flatMap((name) => ['--cap-add', `CAP_${name}`]),
    ...drop.flatMap((name) => ['--cap-drop', `CAP_${name}`]),
  ];
}

/** The volumes, of this machine: in a folder of their own but for what is the kernel's. */
function mounts(machine: Machine): string[] {
  return container!.volumeMounts.flatMap(({ name, mountPath, readOnly }) => {
    const source = name === 'sysctls' ? '/proc/sys/net' : `/run/node/${name}`;
    if (name !== 'sysctls') machine.run(['mkdir', '-p', source]);
    return ['--mount', `type=bind,src=${source},dst=${mountPath},options=rbind:${readOnly ? 'ro' : 'rw'}`];
  });
}

const tools: [string, string][] = [
  ['/usr/bin/culvert --version', 'culvert '],
  ['ip -Version', 'ip utility'],
  ['bridge -Version', 'bridge utility'],
  ['tc -Version', 'tc utility'],
  ['nft --version', 'nftables'],
  ['wg --version', 'wireguard-tools'],
  ['ping -V', 'iputils'],
  ['arping -V', 'iputils'],
  ['ethtool --version', 'ethtool'],
  ['bird --version', 'BIRD version'],
  ['birdc --version', ''],
  ['nsenter --version', 'util-linux'],
  ['setpriv --version', 'util-linux'],
];

describe('the container image', () => {
  it("runs the agent with no more than the DaemonSet's rights, and has every program that it needs", async ({
    machine,
  }) => {
    const { host } = machine;
    for (const line of ['add name eth0 type veth peer name up0', 'set up0 up', 'set eth0 up']) {
      host.exec(`ip link ${line}`);
    }
    host.exec('ip addr add 192.168.1.11/24 dev eth0');
    host.exec('ip addr add fd01::11/64 dev eth0 nodad');
    const volumes = mounts(machine);
    const nodes = [1, 2].map((i) => ({
      name: `n${i}`,
      addresses: [`192.168.1.1${i}`, `fd01::1${i}`],
      podCIDRs: [`10.244.${i}.0/24`, `fd00:244:${i}::/64`],
    }));
    machine.write('/run/node/config/cluster.yaml', JSON.stringify({ nodes }));
    const paths = { sysctls: '/host/proc/sys' };
    machine.write('/run/node/config/agent.yaml', JSON.stringify({ install: true, paths }));
    machine.write('/run/agent.log', '');
    const argv = [...asPod(machine), '--env', 'NODE_NAME=n1', ...volumes, image, 'agent'];
    machine.start([...argv, '/usr/bin/culvert', ...container!.args], '/run/agent.log');
    await until(
      () => machine.read('/run/agent.log'),
      () => machine.read('/run/agent.log').includes('"msg":"ready"'),
      60_000,
    );
    expect(host.exec('sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding')).toBe('1\n1\n');
    expect(host.exec('ip route show 10.244.2.0/24')).toContain('dev culvert-vxlan');
    expect(host.exec('nft list table inet culvert_cluster')).toContain('masquerade');
    const ready = JSON.parse(host.exec('curl -s http://127.0.0.1:9467/readyz')) as object;
    expect(ready).toEqual({ ready: true, reasons: [], problems: [] });
    expect(machine.run(['/run/node/cni-bin/culvert', '--version'])).toMatch(/^culvert /);
    expect(machine.run(['ls', '/run/node/cni-conf'])).toBe('10-culvert.conflist');

    for (const [line, expected] of tools) {
      const { stdout, stderr } = machine.try(['ctr', 'task', 'exec', '--exec-id', 'tool', 'agent', ...line.split(' ')]);
      expect(stdout + stderr, line).toContain(expected);
      expect(stdout + stderr, line).not.toMatch(/shared libraries|no such file|not found/i);
    }

    machine.run(['ctr', 'task', 'kill', '-s', 'SIGTERM', 'agent']);
    await until('it ends', () => !machine.run(['ctr', 'task', 'ls']).includes('agent'), 30_000);
    expect(host.exec('ip route show 10.244.2.0/24')).toContain('dev culvert-vxlan');
  });
});

/** containerd: `ctr run --cni`, and pod sandboxes as kubelet asks for them, with a chain and with the plugin of a cluster. */

import { copyFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect } from 'vitest';
import { callCri } from '../support/cri.ts';
import { itOnMachine as it } from '../support/fixtures.ts';
import { image, makeImage } from '../support/image.ts';
import { leftovers } from '../support/leftovers.ts';
import { type Machine, pluginDir } from '../support/machine.ts';
import { Outside } from '../support/outside.ts';
import type { CniResult } from '../support/pod.ts';
import { askTcp, askUdp } from '../support/service.ts';

/** A snapshotter that needs nothing of the kernel; scores that a machine without CAP_SYS_RESOURCE can set. */
const config = `
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${image}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
`;

const bridge = {
  type: 'bridge',
  bridge: 'br0',
  isDefaultGateway: true,
  ipMasq: true,
  hairpinMode: true,
  ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1:2::/64' }]] },
};
const portmap = { type: 'portmap', capabilities: { portMappings: true } };
const lists = {
  'bridge, portmap and firewall': [bridge, portmap, { type: 'firewall' }],
  'culvert and portmap': [{ type: 'culvert', capabilities: { ips: true, mac: true } }, portmap],
};

/** What the agent tells the plugin `culvert`. */
const node = {
  attach: 'ptp',
  podCIDRs: ['10.1.2.0/24', 'fd00:1:2::/64'],
  addresses: ['192.0.2.1', '2001:db8::1'],
  mtu: 1450,
};

const conf = join(import.meta.dirname, '../../conf');
const retained = '/var/lib/cni/results';
const networks = '/var/lib/cni/networks';
const conflist = '/etc/cni/net.d/10-net.conflist';

/** A network of these plugins is there before containerd is: it has one from the start. */
async function startContainerd(machine: Machine, plugins: object[]): Promise<void> {
  machine.write(conflist, JSON.stringify({ cniVersion: '1.0.0', name: 'net', plugins }));
  machine.start(['containerd'], '/run/containerd.log');
  const deadline = Date.now() + 20_000;
  while (machine.try(['ctr', 'version']).status !== 0) {
    if (Date.now() > deadline) throw new Error(machine.read('/run/containerd.log'));
    await sleep(100);
  }
}

const ctr = (machine: Machine, line: string): string => machine.run(['ctr', ...line.split(' ')]);

const cri = (machine: Machine, method: string, request = ''): Promise<string> =>
  callCri(machine.path('/run/containerd/containerd.sock'), method, request);

const left = (machine: Machine): string[] => leftovers(machine.host, machine.path(networks));

beforeEach<{ machine: Machine }>(({ machine }) => {
  machine.write('/etc/containerd/config.toml', config);
  machine.write('/run/culvert/node.json', JSON.stringify(node));
  makeImage(machine.path('/run/image.tar'));
});

/** A plugin of the list by hand, for an attachment that containerd made. */
function execute(machine: Machine, command: string, conf: object, env: Record<string, string>): void {
  const { type } = conf as { type: string };
  const words = Object.entries({ ...env, CNI_COMMAND: command, CNI_PATH: pluginDir }).map(([k, v]) => `${k}=${v}`);
  const document = { cniVersion: '1.1.0', name: 'net', ...conf };
  machine.run(['env', ...words, `${pluginDir}/${type}`], JSON.stringify(document));
}

describe('ctr run --cni', () => {
  const options = (machine: Machine, name: string): string =>
    `--snapshotter native --cni --cgroup /${machine.host.name}/${name} ${image} ${name}`;

  beforeEach<{ machine: Machine }>(async ({ machine }) => {
    await startContainerd(machine, lists['bridge, portmap and firewall']);
    ctr(machine, 'image import --snapshotter native /run/image.tar');
  });

  it('has an address, a gateway that answers, and leaves nothing when it ends', ({ machine }) => {
    const line = 'ip -4 -o addr show dev eth0 && ping -q -c 1 -W 2 10.1.2.1 && ping -q -c 1 -W 2 fd00:1:2::1';
    const shown = machine.run(['ctr', 'run', '--rm', ...options(machine, 'a').split(' '), 'sh', '-c', line]);
    expect(shown).toContain('10.1.2.2/24');
    expect(shown.match(/1 packets received/g)).toHaveLength(2);
    expect(left(machine)).toEqual([]);
  });

  it('takes conf/nerdctl-bridge.conflist, keys of nerdctl’s own included', ({ machine }) => {
    copyFileSync(join(conf, 'nerdctl-bridge.conflist'), machine.path(conflist));
    const words = ['ctr', 'run', '--rm', ...options(machine, 'a').split(' '), 'ping', '-q', '-c', '1', '10.4.0.1'];
    expect(machine.run(words)).toContain('1 packets received');
    expect(left(machine)).toEqual([]);
  });

  it('that nobody detached leaves its addresses, and GC frees them and no other’s', async ({ machine }) => {
    // ctr ends a detached container without a DEL
    for (const name of ['a', 'b']) ctr(machine, `run -d ${options(machine, name)}`);
    ctr(machine, 'task rm -f a');
    const missed = left(machine).length;
    const attachments = { 'cni.dev/valid-attachments': [{ containerID: 'default-b', ifname: 'eth0' }] };
    for (const plugin of lists['bridge, portmap and firewall']) {
      execute(machine, 'GC', { ...plugin, ...attachments }, {});
    }
    expect(missed).toBeGreaterThan(left(machine).length);
    const addresses = readdirSync(machine.path(`${networks}/net`)).filter((file) => /^[\d.]+$|^fd/.test(file));
    expect(addresses).toEqual(['10.1.2.3', 'fd00:1:2::3']);
    expect(ctr(machine, 'task exec --exec-id ping b ping -q -c 1 -W 2 10.1.2.1')).toContain('1 packets received');
  });
});

/** As after a crash that took the disk's last minutes along. */
const forget = `
grep -e ' /run/netns/' -e /containerd/ /proc/mounts | cut -d' ' -f2 | xargs umount
rm -rf /run/netns/* /run/containerd /var/lib/containerd ${retained}`;

/** A pod as kubelet wants it: its sandbox's id, network namespace and addresses. */
async function runPod(
  machine: Machine,
  name: string,
  ports = '',
): Promise<{ id: string; netns: string; ips: string[] }> {
  const metadata = `metadata { name: "${name}" uid: "${name}" namespace: "default" }`;
  const linux = `linux { cgroup_parent: "/${machine.host.name}" }`;
  const answer = await cri(machine, 'RunPodSandbox', `config { ${metadata} ${ports} ${linux} }`);
  const id = /pod_sandbox_id: "(\w+)"/.exec(answer)![1]!;
  const status = await cri(machine, 'PodSandboxStatus', `pod_sandbox_id: "${id}" verbose: true`);
  const pid = /\\"pid\\":(\d+)/.exec(status)![1]!;
  return { id, netns: machine.netnsOf(pid), ips: [...status.matchAll(/ ip: "(.*)"/g)].map(([, ip]) => ip!) };
}

async function removePod(machine: Machine, id: string): Promise<void> {
  for (const method of ['StopPodSandbox', 'RemovePodSandbox']) await cri(machine, method, `pod_sandbox_id: "${id}"`);
}

const ports =
  'port_mappings { container_port: 80 host_port: 8080 } port_mappings { protocol: UDP container_port: 80 host_port: 5353 }';

describe.each(Object.entries(lists))('a pod sandbox with %s', (_, plugins) => {
  // the machine outside gives the host the addresses that the node file names
  beforeEach<{ machine: Machine; outside: Outside }>(async ({ machine, outside: _outside }) => {
    await startContainerd(machine, plugins);
    ctr(machine, '-n k8s.io image import --snapshotter native /run/image.tar');
  });

  it('the runtime’s network is ready', async ({ machine }) => {
    expect(await cri(machine, 'Status')).toMatch(/type: "NetworkReady"\s+status: true/);
  });

  it('has an address of each family; its host ports are reached from outside and from the host', async ({
    machine,
    host,
    outside,
    services,
  }) => {
    const pod = await runPod(machine, 'web', ports);
    expect(pod.ips).toEqual(['10.1.2.2', 'fd00:1:2::2']);
    await services.serve(pod.netns, 'web');
    for (const [near, far] of [
      ['192.0.2.1', Outside.addresses[0]] as const,
      ['2001:db8::1', Outside.addresses[1]] as const,
    ]) {
      expect(askTcp(outside.netns, near, 8080)).toBe(`web ${far}`);
      expect(askUdp(outside.netns, near, 5353)).toBe(`web ${far}`);
      expect(askTcp(host.netns, near, 8080)).toMatch(/^web /);
    }
    expect(askTcp(host.netns, '127.0.0.1', 8080)).toMatch(/^web /);
    await removePod(machine, pod.id);
    expect(askTcp(outside.netns, '192.0.2.1', 8080)).toBeUndefined();
    expect(left(machine)).toEqual([]);
  });

  it('reaches another one', async ({ machine, services }) => {
    const [a, b] = [await runPod(machine, 'a'), await runPod(machine, 'b')];
    await services.serve(b.netns, 'b');
    expect(b.ips.map((ip) => askTcp(a.netns, ip, 80))).toEqual(a.ips.map((ip) => `b ${ip}`));
  });

  it('whose host port another one has fails with the owner’s name and leaves nothing of its own', async ({
    machine,
  }) => {
    const owner = await runPod(machine, 'a', ports);
    const before = left(machine);
    await expect(runPod(machine, 'b', ports)).rejects.toThrow(`host port 8080/tcp is taken by "net ${owner.id} eth0"`);
    expect(left(machine)).toEqual(before);
  });

  it('passes CHECK with the result that containerd keeps, and not after damage', async ({ machine }) => {
    const pod = await runPod(machine, 'a', ports);
    const kept = JSON.parse(machine.read(`${retained}/net-${pod.id}-eth0`)) as {
      result: CniResult;
      capabilityArgs: object;
    };
    const { sandbox = '' } = kept.result.interfaces!.find((i) => i.sandbox)!;
    const env = { CNI_CONTAINERID: pod.id, CNI_NETNS: sandbox, CNI_IFNAME: 'eth0' };
    const more = { prevResult: kept.result, runtimeConfig: kept.capabilityArgs };
    const check = () => plugins.forEach((plugin) => void execute(machine, 'CHECK', { ...plugin, ...more }, env));
    check();
    machine.host.exec('nft delete element inet culvert_portmap any4 { 6 . 8080 }');
    expect(check).toThrow('8080/tcp');
  });

  it('of a runtime that was killed with all processes is removed whole by the next one', async ({ machine }) => {
    const pod = await runPod(machine, 'a', ports);
    machine.killAll();
    expect(left(machine)).not.toEqual([]);
    await startContainerd(machine, plugins);
    await removePod(machine, pod.id);
    expect(left(machine)).toEqual([]);
    expect((await runPod(machine, 'a', ports)).ips).not.toEqual([]);
  });

  it('that the runtime forgot is removed by GC', async ({ machine }) => {
    await runPod(machine, 'a', ports);
    machine.killAll();
    machine.run(['sh', '-c', forget]);
    expect(left(machine)).not.toEqual([]);
    for (const plugin of plugins) execute(machine, 'GC', { ...plugin, 'cni.dev/valid-attachments': [] }, {});
    expect(left(machine)).toEqual([]);
  });
});

/** podman with its CNI backend: networks as it writes them itself, containers, published ports. */

import { copyFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect } from 'vitest';
import { link } from '../support/bridge.ts';
import { needs } from '../support/case.ts';
import { itOnMachine as it } from '../support/fixtures.ts';
import { image, makeImage } from '../support/image.ts';
import { leftovers } from '../support/leftovers.ts';
import { type Machine, pluginDir } from '../support/machine.ts';
import { Outside } from '../support/outside.ts';
import { askTcp, askUdp } from '../support/service.ts';

const conf = join(import.meta.dirname, '../../conf');

const containersConf = `
[network]
network_backend = "cni"
cni_plugin_dirs = ["${pluginDir}"]
network_config_dir = "/etc/cni/net.d"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
`;
const storageConf = `
[storage]
driver = "vfs"
graphroot = "/var/lib/containers"
runroot = "/run/containers"
`;

beforeEach<{ machine: Machine }>(({ machine, skip }) => {
  needs({ skip }, 'podman with CNI');
  machine.write('/etc/containers/containers.conf', containersConf);
  machine.write('/etc/containers/storage.conf', storageConf);
  makeImage(machine.path('/run/image.tar'));
  podman(machine, 'load -q -i /run/image.tar');
});

const podman = (machine: Machine, line: string): string => machine.run(['podman', ...line.split(' ')]);

/** A container that does nothing but pings that are asked of it; answers its network namespace. */
function start(machine: Machine, name: string, options: string): string {
  const always = `--cgroup-parent /${machine.host.name} --cap-add NET_RAW`;
  podman(machine, `run -d --name ${name} ${always} ${options} ${image}`);
  return machine.netnsOf(podman(machine, `inspect --format {{.State.Pid}} ${name}`));
}

interface Conflist {
  plugins: { type: string; bridge?: string }[];
}
const conflistOf = (machine: Machine, network: string) =>
  JSON.parse(machine.read(`/etc/cni/net.d/${network}.conflist`)) as Conflist;

interface Inspected {
  NetworkSettings: {
    Networks: Record<string, { IPAddress: string; GlobalIPv6Address: string; MacAddress: string; Gateway: string }>;
  };
}
const networkOf = (machine: Machine, container: string, network: string) => {
  const [inspected] = JSON.parse(podman(machine, `inspect ${container}`)) as [Inspected];
  return inspected.NetworkSettings.Networks[network]!;
};

const left = (machine: Machine): string[] => leftovers(machine.host, machine.path('/var/lib/cni/networks'));

describe('podman network create', () => {
  it('writes a list of plugins that are all ours', ({ machine }) => {
    podman(machine, 'network create net');
    const types = conflistOf(machine, 'net').plugins.map((p) => p.type);
    expect(types).toEqual(['bridge', 'portmap', 'firewall', 'tuning']);
    expect(readdirSync(machine.path(pluginDir))).toEqual(expect.arrayContaining(types));
  });

  it('with both families gives a container an address of each, and the gateway answers', ({ machine }) => {
    podman(machine, 'network create --subnet 10.1.2.0/24 --ipv6 --subnet fd00:1:2::/64 net');
    start(machine, 'a', '--network net');
    expect(networkOf(machine, 'a', 'net')).toMatchObject({
      IPAddress: '10.1.2.2',
      GlobalIPv6Address: 'fd00:1:2::2',
      Gateway: '10.1.2.1',
    });
    for (const gateway of ['10.1.2.1', 'fd00:1:2::1']) podman(machine, `exec a ping -c 1 -W 2 ${gateway}`);
  });
});

describe('podman run', () => {
  it('without a network uses conf/87-podman.conflist where that is its default', ({ machine }) => {
    copyFileSync(join(conf, '87-podman.conflist'), machine.path('/etc/cni/net.d/87-podman.conflist'));
    start(machine, 'a', '--mac-address 02:00:00:00:00:77');
    expect(networkOf(machine, 'a', 'podman')).toMatchObject({
      IPAddress: '10.88.0.2',
      MacAddress: '02:00:00:00:00:77',
    });
    podman(machine, 'exec a ping -c 1 -W 2 10.88.0.1');
  });

  it('-p: tcp and udp, from another machine, from the host and by its 127.0.0.1', async ({
    machine,
    host,
    outside,
    services,
  }) => {
    podman(machine, 'network create --subnet 10.1.2.0/24 net');
    const netns = start(machine, 'a', '--network net -p 8080:80 -p 5353:80/udp -p 192.0.2.1:9090:80');
    await services.serve(netns, 'a');
    const [far] = Outside.addresses;
    expect(askTcp(outside.netns, '192.0.2.1', 8080)).toBe(`a ${far}`);
    expect(askUdp(outside.netns, '192.0.2.1', 5353)).toBe(`a ${far}`);
    expect(askTcp(outside.netns, '192.0.2.1', 9090)).toBe(`a ${far}`);
    expect(askTcp(host.netns, '192.0.2.1', 8080)).toMatch(/^a /);
    expect(askTcp(host.netns, '127.0.0.1', 8080)).toMatch(/^a /);
    expect(askUdp(host.netns, '127.0.0.1', 5353)).toMatch(/^a /);
    podman(machine, 'rm -f -t 0 a');
    expect(askTcp(outside.netns, '192.0.2.1', 8080)).toBeUndefined();
    expect(left(machine)).toEqual([]);
  });

  it('two containers reach each other, a published port of the other too, and beyond the host as the host', async ({
    machine,
    outside,
    services,
  }) => {
    podman(machine, 'network create --subnet 10.1.2.0/24 net');
    const a = start(machine, 'a', '--network net');
    const b = start(machine, 'b', '--network net -p 8080:80');
    await services.serve(b, 'b');
    expect(askTcp(a, '10.1.2.3', 80)).toBe('b 10.1.2.2');
    expect(askTcp(a, '192.0.2.1', 8080)).toMatch(/^b /);
    podman(machine, `exec a ping -c 1 -W 2 ${Outside.addresses[0]}`);
    expect(outside.seen(4)).toEqual(['192.0.2.1']);
  });

  it('--ip and --mac-address are what the container has; an address that is taken is refused in our words', ({
    machine,
  }) => {
    podman(machine, 'network create --subnet 10.1.2.0/24 net');
    start(machine, 'a', '--network net --ip 10.1.2.77 --mac-address 02:00:00:00:00:77');
    expect(networkOf(machine, 'a', 'net')).toMatchObject({
      IPAddress: '10.1.2.77',
      MacAddress: '02:00:00:00:00:77',
    });
    const line = `podman run -d --name b --network net --ip 10.1.2.77 ${image}`;
    const { status, stderr } = machine.try(line.split(' '));
    expect(status).not.toBe(0);
    expect(stderr).toContain('10.1.2.77');
    podman(machine, 'rm -f -t 0 a b');
    expect(left(machine)).toEqual([]);
  });

  it('on two networks the container has an interface on each; one more comes and goes as it runs', ({ machine }) => {
    for (const n of [1, 2, 3]) podman(machine, `network create --subnet 10.1.${n}.0/24 net${n}`);
    start(machine, 'a', '--network net1 --network net2');
    for (const gateway of ['10.1.1.1', '10.1.2.1']) podman(machine, `exec a ping -c 1 -W 2 ${gateway}`);
    podman(machine, 'network connect net3 a');
    podman(machine, 'exec a ping -c 1 -W 2 10.1.3.1');
    podman(machine, 'network disconnect net1 a');
    const { IPAddress } = networkOf(machine, 'a', 'net3');
    expect(podman(machine, 'exec a ip -4 addr')).toContain(IPAddress);
    expect(podman(machine, 'exec a ip -4 addr')).not.toContain('10.1.1.');
    podman(machine, 'rm -f -t 0 a');
    expect(left(machine)).toEqual([]);
  });

  it('starts again after it was stopped', ({ machine }) => {
    podman(machine, 'network create --subnet 10.1.2.0/24 net');
    start(machine, 'a', '--network net -p 8080:80');
    for (let n = 0; n < 2; n++) podman(machine, 'restart -t 0 a');
    podman(machine, 'exec a ping -c 1 -W 2 10.1.2.1');
    podman(machine, 'rm -f -t 0 a');
    expect(left(machine)).toEqual([]);
  });
});

describe('the end', () => {
  it('podman network rm removes the bridge and the configuration', ({ machine, host }) => {
    podman(machine, 'network create --subnet 10.1.2.0/24 net');
    const { bridge } = conflistOf(machine, 'net').plugins[0]!;
    start(machine, 'a', '--network net -p 8080:80');
    expect(link(host, bridge!)).toBeDefined();
    podman(machine, 'network rm -f -t 0 net');
    expect(link(host, bridge!)).toBeUndefined();
    expect(readdirSync(machine.path('/etc/cni/net.d')).filter((file) => file.endsWith('.conflist'))).toEqual([]);
    expect(left(machine)).toEqual([]);
  });

  it('kill -9 of all processes: podman rm cleans up, and the names, addresses and ports are free', async ({
    machine,
    outside,
    services,
  }) => {
    podman(machine, 'network create --subnet 10.1.2.0/24 net');
    const options = '--network net --ip 10.1.2.9 -p 8080:80 -p 5353:80/udp';
    start(machine, 'a', options);
    start(machine, 'b', '--network net');
    machine.killAll();
    expect(left(machine)).not.toEqual([]);
    podman(machine, 'rm -f -t 0 --all');
    expect(left(machine)).toEqual([]);
    await services.serve(start(machine, 'a', options), 'a');
    expect(askTcp(outside.netns, '192.0.2.1', 8080)).toMatch(/^a /);
  });

  it('a container that was killed by itself leaves nothing', ({ machine }) => {
    podman(machine, 'network create --subnet 10.1.2.0/24 net');
    start(machine, 'a', '--network net -p 8080:80');
    podman(machine, 'kill -s KILL a');
    podman(machine, 'wait a');
    podman(machine, 'rm a');
    expect(left(machine)).toEqual([]);
  });
});

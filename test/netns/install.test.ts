/** The agent's care of the node: executables, network configurations of others, and taking everything away again. */

import { spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatMark, readMark } from '../../src/agent/install/mark.ts';
import { Agent, until } from '../support/agents.ts';
import { binDir, Host } from '../support/netns.ts';
import { Pod } from '../support/pod.ts';

const executable = join(binDir, 'culvert');
const own = readMark(executable)!;
const markBytes = formatMark(own).length;
const other = { version: '0.0.9', build: '00000000deadbeef' };

let host: Host;
let agent: Agent;
beforeEach(() => {
  host = new Host('inst');
  // no link-local address of the machine's own comes while a case looks
  host.exec('sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0');
  for (const line of ['add name eth0 type veth peer name up0', 'set up0 up', 'set eth0 up'])
    host.exec(`ip link ${line}`);
  host.exec('ip addr add 192.168.1.11/24 dev eth0');
  host.exec('ip addr add fd01::11/64 dev eth0 nodad');
  agent = new Agent(host, 'n1');
  const nodes = [1, 2].map((i) => ({
    name: `n${i}`,
    addresses: [`192.168.1.1${i}`, `fd01::1${i}`],
    podCIDRs: [`10.244.${i}.0/24`, `fd00:244:${i}::/64`],
  }));
  writeFileSync(join(host.dir, 'cluster.yaml'), JSON.stringify({ nodes }));
});
afterEach(async () => {
  await agent.stop();
  host.remove();
});

const bin = (...name: string[]): string => join(host.dir, 'bin', ...name);
const cni = (...name: string[]): string => join(host.dir, 'cni', ...name);

function configure(config: object = {}): void {
  const paths = { run: 'run', state: 'state', cniBin: 'bin', cniConf: 'cni', leases: 'leases' };
  const whole = Object.fromEntries(Object.entries(paths).map(([key, name]) => [key, join(host.dir, name)]));
  agent.configure({ install: true, resyncSeconds: 2, paths: whole, ...config }, join(host.dir, 'cluster.yaml'));
}

const culvert = (...args: string[]) => host.try([executable, ...args, '--config', agent.configFile].join(' '));

/** An executable of ours of another build. */
function writeOther(file: string): void {
  writeFileSync(file, `#!/bin/sh\n${formatMark(other)}`);
  chmodSync(file, 0o755);
}

describe('an agent told to install', () => {
  it('installs before the runtime hears of the network, and again whatever is deleted', async () => {
    configure();
    agent.start();
    await agent.ready();
    const messages = agent.lines.map((l) => `${l.msg} ${l['file'] ?? ''}`);
    expect(messages.findIndex((m) => m.startsWith('installed'))).toBeLessThan(
      messages.findIndex((m) => m.endsWith('10-culvert.conflist')),
    );
    expect(readMark(bin('culvert'))).toEqual(own);
    expect(readlinkSync(bin('loopback'))).toBe('culvert');
    rmSync(bin('culvert'));
    rmSync(bin('loopback'));
    await until('both are back', () => existsSync(bin('loopback')) && readMark(bin('culvert')) !== undefined, 20_000);
    rmSync(bin(), { recursive: true });
    await until('the folder is back', () => existsSync(bin('vrf')) && readMark(bin('culvert')) !== undefined, 20_000);
    rmSync(cni('10-culvert.conflist'));
    await until('the network configuration is back', () => existsSync(cni('10-culvert.conflist')));
  });

  it("does not touch another program's files, and says what stands in the way", async () => {
    mkdirSync(bin());
    for (const name of ['culvert', 'bridge']) writeFileSync(bin(name), '#!/bin/sh\n');
    configure();
    agent.start();
    await until(
      () => `it says so: ${agent.output}`,
      () => agent.lines.some((l) => l.msg.includes("culvert is another program's and stays")),
    );
    expect(existsSync(cni('10-culvert.conflist'))).toBe(false);
    const { ready, reasons, problems } = JSON.parse(agent.get('/readyz')) as Record<string, unknown>;
    expect(ready).toBe(false);
    expect(reasons).toContain('the plugin executables are not installed yet');
    expect(problems).toContainEqual(
      `${bin('culvert')} is another program's and stays: move it away, or set install: replace`,
    );
    renameSync(bin('culvert'), bin('theirs'));
    await agent.ready();
    expect(readMark(bin('bridge'))).toBeUndefined();
    expect(agent.lines.find((l) => l.msg === "other programs' files stay")).toMatchObject({ names: ['bridge'] });
  });

  it('replaces another build at its start; a later one stays and is named', async () => {
    mkdirSync(bin());
    writeOther(bin('culvert'));
    configure();
    agent.start();
    await agent.ready();
    expect(readMark(bin('culvert'))).toEqual(own);
    writeOther(bin('new'));
    renameSync(bin('new'), bin('culvert'));
    await until('it is named', () => agent.lines.some((l) => l.msg.includes('restart the agent')));
    expect(readMark(bin('culvert'))).toEqual(other);
  });

  it('warns of other network configurations, whichever a runtime will take', async () => {
    mkdirSync(cni());
    writeFileSync(cni('87-podman.conflist'), '{}');
    configure();
    agent.start();
    await agent.ready();
    const warnings = () => agent.lines.filter((l) => l.level === 'warn').map((l) => l.msg);
    await until('a warning', () => warnings().length > 0);
    expect(warnings()).toEqual([
      `a runtime uses ${cni('10-culvert.conflist')}, the first by name; without it 87-podman.conflist: remove it`,
    ]);
    writeFileSync(cni('05-other.conf'), '{}');
    await until('the first is named', () => agent.get('/readyz').includes('05-other.conf comes before ours by name'));
    rmSync(cni('05-other.conf'));
    await until('all is well', () => agent.get('/readyz').includes('"problems":[]'));
  });
});

describe('culvert install', () => {
  it('says what it would do, does it, and then has nothing to do', () => {
    configure();
    expect(culvert('install', '--dry-run')).toMatchObject({ status: 1 });
    expect(existsSync(bin())).toBe(false);
    const done = culvert('install');
    expect(done).toMatchObject({ status: 0, stderr: '' });
    expect(done.stdout).toContain(`copy ${bin('culvert')}\n`);
    const again = culvert('install', '--json');
    expect(again.status).toBe(0);
    expect(JSON.parse(again.stdout)).toMatchObject({ folder: bin(), ...own, steps: [], kept: [] });
    expect(readdirSync(bin()).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('takes the place of a build that is being executed', async () => {
    mkdirSync(bin());
    for (const name of ['culvert', 'culvert-node']) {
      const size = statSync(join(binDir, name)).size;
      copyFileSync(join(binDir, name), bin(name));
      truncateSync(bin(name), size - markBytes);
      writeFileSync(bin(name), formatMark(other), { flag: 'a' });
    }
    const env = { ...process.env, CNI_COMMAND: 'VERSION' };
    const running = spawn(bin('culvert'), { env, stdio: ['pipe', 'pipe', 'inherit'] }); // waits for its input
    const answer = new Promise<string>((resolve) => running.stdout.once('data', (text: Buffer) => resolve(`${text}`)));
    configure();
    expect(culvert('install')).toMatchObject({ status: 0 });
    for (const name of ['culvert', 'culvert-node']) expect(readMark(bin(name))).toEqual(own);
    running.stdin.end('{"cniVersion":"1.1.0"}');
    expect(await answer).toContain('supportedVersions');
  });

  it("keeps another program's files unless told otherwise", () => {
    mkdirSync(bin());
    for (const name of ['culvert', 'bridge']) writeFileSync(bin(name), '#!/bin/sh\n');
    configure();
    const kept = culvert('install');
    expect(kept.status).toBe(1);
    expect(kept.stdout).toContain(`kept ${bin('culvert')}, another program's; --replace takes its place`);
    expect(culvert('install', '--replace')).toMatchObject({ status: 0 });
    expect(readMark(bin('bridge'))).toEqual(own);
  });
});

/** What `culvert uninstall` says. */
interface Said {
  objects: { kind: string; name: string; detail?: string }[];
  pods: string[];
  against: string[];
  failures: string[];
  remarks: string[];
}

const uninstall = (...args: string[]): Said & { status: number } => {
  const { status, stdout, stderr } = culvert('uninstall', '--json', ...args);
  if (stdout === '') throw new Error(stderr);
  return { status, ...(JSON.parse(stdout) as Said) };
};

/** The namespace as the kernel shows it; how many connections it tracks changes by itself. */
const shown = (): string[] =>
  ['ip -d link', 'ip route show table all', 'ip -6 route show table all', 'ip rule', 'nft list ruleset', 'sysctl -ae']
    .flatMap((line) => host.exec(line).split('\n'))
    .filter((line) => !/nf_conntrack_count|^(?:abi|debug|dev|fs|kernel|user|vm)\./.test(line));

/** A pod of the cluster's network, with a host port and a rate. */
function attach(id: string): void {
  const runtimeConfig = {
    portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
    bandwidth: { ingressRate: 8_000_000, ingressBurst: 80_000, egressRate: 8_000_000, egressBurst: 80_000 },
  };
  const conf = {
    cniVersion: '1.0.0',
    name: 'culvert',
    type: 'culvert',
    nodeFile: join(host.dir, 'run/node.json'),
    runtimeConfig,
  };
  new Pod(host, conf, id).add();
}

describe('culvert uninstall', () => {
  it('leaves the node as it was, byte for byte, and what is not ours', async () => {
    for (const line of ['eth0.rp_filter=1', 'eth0.forwarding=1', 'all.accept_redirects=0']) {
      host.exec(`sysctl -qw net.ipv4.conf.${line}`);
    }
    host.exec('sysctl -qw net.ipv6.conf.up0.forwarding=1');
    host.exec('ip route add 10.9.0.0/16 dev eth0 proto static');
    host.exec('nft add table inet theirs');
    host.exec('ip link add name culvert-x type bridge');
    mkdirSync(cni());
    writeFileSync(cni('87-theirs.conflist'), '{"plugins":[{"type":"macvlan2"}]}');
    const before = shown();
    configure({ sameSubnet: 'direct' });
    agent.start();
    await agent.ready();
    expect(host.exec('sysctl -n net.ipv4.ip_forward net.ipv4.conf.eth0.rp_filter')).toBe('1\n2\n');
    attach('pod-a');

    expect(uninstall().against).toEqual([
      'an agent answers at 127.0.0.1:9467: stop it first, or it makes everything anew',
      expect.stringContaining('1 pod is attached here and will lose the network at once'),
    ]);
    await agent.stop();
    // what one that ran longer, with more nodes, leaves as well, and one that was killed
    for (const name of ['path-mtu.json', 'offload.json', 'ways.json', '.ways.json.next', '.node.json.next']) {
      writeFileSync(join(host.dir, 'run', name), '{}');
    }
    const listed = uninstall('--dry-run', '--force');
    expect(listed).toMatchObject({ status: 1, pods: ['culvert pod-a eth0'] });
    expect(existsSync(cni('10-culvert.conflist'))).toBe(true);
    const done = uninstall('--force');
    expect(done).toMatchObject({ status: 0, objects: listed.objects, failures: [], remarks: [] });
    expect(new Set(done.objects.map((o) => o.kind))).toEqual(
      new Set(['file', 'link', 'route', 'table', 'sysctl', 'leases', 'executable']),
    );
    expect(shown()).toEqual(before);
    expect(readdirSync(host.dir).sort()).toEqual(['agent.yaml', 'bin', 'cluster.yaml', 'cni', 'leases']);
    expect(['bin', 'cni', 'leases'].flatMap((dir) => readdirSync(join(host.dir, dir)))).toEqual(['87-theirs.conflist']);
    expect(culvert('uninstall')).toMatchObject({ status: 0, stdout: 'nothing here is ours\n' });
  });

  it('ends BIRD, whose routes go, and names other networks that need the executables', async () => {
    mkdirSync(cni());
    writeFileSync(cni('99-loopback.conf'), '{"type":"loopback"}');
    const before = shown();
    configure({ mode: 'bgp', sweep: { enabled: false } });
    agent.start();
    await agent.ready();
    await agent.stop();
    expect(host.exec('ip route show proto bird')).toContain('unreachable 10.244.1.0/24');
    expect(uninstall()).toMatchObject({
      status: 1,
      against: [`other networks in ${cni()} use these executables: 99-loopback.conf (loopback)`],
    });
    expect(uninstall('--force')).toMatchObject({ status: 0, failures: [] });
    expect(shown()).toEqual(before);
    expect(existsSync(join(host.dir, 'run'))).toBe(false);
    expect(uninstall()).toMatchObject({ status: 0, objects: [] });
  });

  it('leaves a sysctl that somebody else has changed since, and says so', async () => {
    host.exec('sysctl -qw net.ipv4.conf.eth0.rp_filter=1');
    configure();
    agent.start();
    await agent.ready();
    await agent.stop('SIGKILL');
    host.exec('sysctl -qw net.ipv4.conf.eth0.rp_filter=0');
    host.exec('sysctl -qw net.ipv4.ip_forward=0');
    const { objects, remarks } = uninstall('--force');
    expect(objects.filter((o) => o.kind === 'sysctl').map((o) => o.name)).toEqual(['net/ipv6/conf/all/forwarding']);
    // forwarding is what it was before us: nothing to say
    expect(remarks).toEqual(['net/ipv4/conf/eth0/rp_filter is 0, not 2 as we set it, and stays']);
    expect(host.exec('sysctl -n net.ipv6.conf.all.forwarding')).toBe('0\n');
  });
});

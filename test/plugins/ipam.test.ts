/** Leaked leases under stress: sweeps beside ADDs and DELs, sweeps that are killed, very many leases, and the agent that sweeps. */

import { spawn } from 'node:child_process';
import { existsSync, linkSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freeLeases } from '../../src/ipam/free.ts';
import { survey } from '../../src/ipam/survey.ts';
import { createExec, type Exec } from '../../src/kernel/exec.ts';
import { createKernel } from '../../src/kernel/kernel.ts';
import { createMachine, type Machine } from '../../src/kernel/machine.ts';
import { parseAddress } from '../../src/net/address.ts';
import { attachmentLabel, hash } from '../../src/net/name.ts';
import { readIfThere } from '../../src/store/files.ts';
import { formatEntry, identify, readBootId } from '../../src/store/lease-identity.ts';
import { Agent, until } from '../support/agents.ts';
import { attach } from '../support/bridge.ts';
import { dataDir, lease, leased } from '../support/ipam.ts';
import { afterReboot, ipam, ipamJson, type ShownLease, states } from '../support/leaks.ts';
import { binDir, Host, inside, run } from '../support/netns.ts';

const root = join(import.meta.dirname, '../..');
const culvert = join(binDir, 'culvert');

let host: Host;
beforeEach(() => {
  host = new Host('ipam');
  mkdirSync(dataDir(host), { recursive: true });
});
afterEach(() => host.remove());

/** One execution in the background; answers its exit code, -1 when it was killed. */
function start(argv: readonly string[], env: Record<string, string> = {}, stdin = ''): Promise<number> {
  const [file, ...args] = inside(host.netns, 'env') as [string, ...string[]];
  const child = spawn(file, [...args, ...argv], {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (text: Buffer) => {
    said += text.toString();
  });
  child.stdin.on('error', () => {});
  child.stdin.end(stdin);
  return new Promise((resolve, reject) =>
    child.on('close', (code) => (said.includes('rror') ? reject(new Error(said)) : resolve(code ?? -1))),
  );
}

/** This machine, with every program run in the host's namespace. */
function machineOf({ netns }: Host): Machine {
  const exec = createExec();
  const inHost: Exec = (argv, options) => exec(argv, { netns, ...options });
  return { ...createMachine(), exec: inHost, kernel: createKernel(inHost) };
}

const conf = () =>
  JSON.stringify({
    cniVersion: '1.1.0',
    name: 'net',
    ipam: { type: 'host-local', dataDir: dataDir(host), subnet: '10.1.0.0/24' },
  });

const plugin = (command: string, id: string, netns: string): Promise<number> =>
  start(
    [join(binDir, 'host-local')],
    { CNI_COMMAND: command, CNI_CONTAINERID: id, CNI_NETNS: netns, CNI_IFNAME: 'eth0', CNI_PATH: binDir },
    conf(),
  );

/** Leases as "container", by what the files say; one that is freed while they are read is none. */
const holders = (): string[] =>
  leased(host).flatMap((a) => readIfThere(join(dataDir(host), 'net', a))?.split('\r\n')[0] ?? []);

/** Files of the index that are no entry of a lease. */
const leftovers = (): string[] => {
  const index = join(dataDir(host), '.culvert/net');
  const entries = existsSync(index) ? readdirSync(index, { recursive: true, withFileTypes: true }) : [];
  const names = entries.filter((e) => e.isFile()).map((e) => e.name);
  const known = leased(host);
  return names.filter((name) => !known.includes(name.split('@')[0]!));
};

it('20 containers come and go, half of them without DEL, under 50 sweeps: nobody who lives loses a lease', async () => {
  const alive = new Map<string, string>();
  const netnsOf = Array.from({ length: 20 }, () => host.pod());
  let isDone = false;
  let sweeps = 0;
  const machine = machineOf(host);
  const place = { dataDir: dataDir(host) };
  const sweeper = async (): Promise<void> => {
    for (; sweeps < 50 || !isDone; sweeps++) {
      await new Promise((resolve) => setTimeout(resolve, 10)); // the plugins' input and output are this process's too
      const { leases } = await survey(place, machine);
      await freeLeases(
        leases.filter((l) => l.state === 'leaked'),
        place,
        machine,
      );
      // a lease that a live container has is there after any sweep
      const now = [...alive.keys()];
      const there = new Set(holders());
      expect(now.filter((id) => alive.has(id) && !there.has(id))).toEqual([]);
    }
  };
  const container = async (i: number): Promise<void> => {
    const name = netnsOf[i]!.split('/').at(-1)!;
    for (let round = 0; round < 2; round++) {
      // every second one keeps its id, as podman's do, and its path leads to a new namespace every time
      const id = i % 2 ? `c${i}` : `c${i}r${round}`;
      expect(await plugin('ADD', id, netnsOf[i]!)).toBe(0);
      alive.set(id, name);
      await new Promise((resolve) => setTimeout(resolve, 50));
      alive.delete(id);
      run(['ip', 'netns', 'del', name]);
      run(['ip', 'netns', 'add', name]);
      if (i % 2) expect(await plugin('DEL', id, netnsOf[i]!)).toBe(0);
    }
    const last = `last${i}`;
    expect(await plugin('ADD', last, netnsOf[i]!)).toBe(0);
    alive.set(last, name);
  };
  const crowd = async (): Promise<void> => {
    const queue = Array.from({ length: 20 }, (_, i) => i);
    const worker = async (): Promise<void> => {
      for (let i = queue.shift(); i !== undefined; i = queue.shift()) await container(i);
    };
    await Promise.all([1, 2, 3, 4].map(worker));
    isDone = true;
  };
  await Promise.all([crowd(), sweeper()]);
  expect(ipam(host, 'sweep').status).toBe(0);
  expect(holders().sort()).toEqual([...alive.keys()].sort());
  expect(new Set(states(host).map((s) => s.split(' ')[1]))).toEqual(new Set(['live']));
  expect(leftovers()).toEqual([]);
  console.log(`${sweeps} sweeps beside 60 ADDs and 20 DELs`);
}, 600_000);

it('a sweep that dies at any file operation is mended by the next: nothing leaked stays, what lives stays', async () => {
  for (const [id, netns] of [
    ['gone', host.pod()],
    ['lives', host.pod()],
  ] as const) {
    expect(await plugin('ADD', id, netns)).toBe(0);
    if (id === 'gone') host.removePod(netns);
  }
  const label = attachmentLabel({ network: 'net', containerId: 'gone', ifname: 'eth0' });
  // something of it in the kernel makes the sweep keep its address until that is gone
  const rules = `add table inet culvert_masquerade
add map inet culvert_masquerade pods4 { type ipv4_addr : verdict ; }
add map inet culvert_masquerade pods6 { type ipv6_addr : verdict ; }
add chain inet culvert_masquerade to-x
add element inet culvert_masquerade pods4 { 10.1.0.2 comment "${label}" : jump to-x }
`;
  const before = join(host.dir, 'before');
  run(['cp', '-a', dataDir(host), before]);
  const argv = ['--import', join(root, 'test/support/kill-at-call.ts'), join(root, 'src/main.ts')];
  let points = 0;
  for (let n = 1; ; n++) {
    host.try('nft delete table inet culvert_masquerade');
    host.exec('nft -f -', rules);
    const env = { KILL_AT: String(n), KILL_BELOW: dataDir(host), CULVERT_CALLED_AS: 'culvert' };
    const exit = await start([process.execPath, ...argv, 'ipam', 'sweep', '--data-dir', dataDir(host)], env);
    if (exit === 0) break;
    points = n;
    const [state] = states(host).filter((s) => s.startsWith('10.1.0.2'));
    expect(['10.1.0.2 leaked', '10.1.0.2 unknown', undefined], `died at ${n}`).toContain(state);
    // what a dead sweep holds is held for a minute, or until the next boot
    const again = state?.endsWith('unknown')
      ? afterReboot(host, [culvert, 'ipam', 'sweep', '--data-dir', dataDir(host)])
      : ipam(host, 'sweep').stdout;
    expect(again).toContain('freed');
    if (!state?.endsWith('unknown')) {
      expect(holders(), `died at ${n}`).toEqual(['lives']);
      expect(leftovers(), `died at ${n}`).toEqual([]);
    } else expect(holders(), `died at ${n}`).not.toContain('gone');
    rmSync(dataDir(host), { recursive: true });
    run(['cp', '-a', before, dataDir(host)]);
  }
  expect(holders()).toEqual(['lives']);
  expect(host.exec('nft list table inet culvert_masquerade')).not.toContain('10.1.0.2');
  expect(points).toBeGreaterThan(20);
}, 600_000);

it('20,000 leases are shown and swept', () => {
  const folder = join(dataDir(host), 'net');
  const index = join(dataDir(host), '.culvert/net');
  mkdirSync(folder, { recursive: true });
  const netns = host.pod();
  const gone = host.pod();
  const bootId = readBootId();
  const identities = [identify(netns, bootId), identify(gone, bootId)];
  host.removePod(gone);
  // as ADD leaves them, without the start of 20,000 processes
  for (let i = 2; i < 20_002; i++) {
    const address = `10.1.${i >> 8}.${i & 255}`;
    const entries = join(index, hash(`c${i}\0eth0`, 32));
    const entry = join(entries, formatEntry(parseAddress(address)!, identities[i % 2]!));
    mkdirSync(entries, { recursive: true });
    writeFileSync(entry, `c${i}\r\neth0`);
    linkSync(entry, join(folder, address));
  }
  const lastOf = (line: string): string =>
    run([...inside(host.netns, 'sh -c'), `${culvert} ipam ${line} --data-dir ${dataDir(host)} | tail -n 1`]);
  expect(lastOf('show')).toContain('20000 leases: 10000 live, 10000 leaked');
  expect(lastOf('sweep')).toContain('10000 of 20000 leases freed');
  expect(leased(host)).toHaveLength(10_000);
  expect(leftovers()).toEqual([]);
  run(['rm', '-rf', dataDir(host)]);
}, 300_000);

describe('the agent', () => {
  let agent: Agent;
  afterEach(async () => void (await agent.stop('SIGTERM')));

  async function startAgent(sweep: object): Promise<void> {
    agent = new Agent(host, 'n1');
    if (host.try('ip link show eth0').status !== 0) {
      host.exec('ip link add name eth0 type veth peer name peer0');
      host.exec('ip addr add 192.168.1.11/24 dev eth0');
      for (const name of ['eth0', 'peer0']) host.exec(`ip link set dev ${name} up`);
    }
    const cluster = join(host.dir, 'cluster.yaml');
    const node = { name: 'n1', addresses: ['192.168.1.11'], podCIDRs: ['10.244.1.0/28'] };
    writeFileSync(cluster, JSON.stringify({ nodes: [node] }));
    agent.configure({ sweep }, cluster);
    agent.start();
    await agent.ready();
  }
  const freed = () => agent.lines.filter((l) => l.msg === 'lease freed');

  it('frees what it found leaked twice, says so once each, and counts', async () => {
    const [gone, stays] = [attach(host, { ipMasq: true }, { id: 'gone' }), attach(host, {}, { id: 'stays' })];
    for (const pod of [gone, stays]) pod.add();
    host.removePod(gone.netns);
    await startAgent({ everySeconds: 1, graceSeconds: 1 });
    await until('freed', () => freed().length > 0, 30_000);
    expect(freed()).toEqual([
      expect.objectContaining({
        network: 'net',
        address: '10.1.2.2',
        containerId: 'gone',
        ifname: 'eth0',
        reason: expect.stringMatching(/is gone$/),
      }),
    ]);
    expect(leased(host)).toEqual(['10.1.2.3']);
    expect(host.exec('nft list table inet culvert_masquerade')).not.toContain('10.1.2.2');
    const metrics = agent.get('/metrics');
    expect(metrics).toContain('culvert_leases{network="net",state="live"} 1');
    expect(metrics).toContain('culvert_leases{network="net",state="leaked"} 0');
    expect(metrics).toContain('culvert_leases_freed_total{network="net"} 1');
    expect(metrics).toContain('culvert_pool_addresses{family="ipv4"} 13');
    expect(metrics).toContain('culvert_pool_leased_addresses{family="ipv4"} 0');
  });

  it('frees nothing within the grace period, and nothing at all when told not to', async () => {
    const pod = lease(host, { subnet: '10.1.2.0/24' }, { id: 'gone' });
    pod.add({ netns: host.pod() });
    host.removePod(ipamJson<{ leases: ShownLease[] }>(host, 'show').leases[0]!.netns!);
    await startAgent({ everySeconds: 1, graceSeconds: 600 });
    await until('looked', () => agent.get('/metrics').includes('culvert_leases{network="net",state="leaked"} 1'));
    await new Promise((resolve) => setTimeout(resolve, 2500));
    await agent.stop();
    await startAgent({ enabled: false, everySeconds: 1, graceSeconds: 1 });
    await new Promise((resolve) => setTimeout(resolve, 2500));
    expect(leased(host)).toEqual(['10.1.2.2']);
    expect(freed()).toEqual([]);
  });

  it('sweeps sooner when its pool is nearly full', async () => {
    await startAgent({ everySeconds: 86_400, graceSeconds: 1, fullPercent: 80 });
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const nodeFile = join(host.dir, 'run/node.json');
    for (let i = 0; i < 11; i++) {
      const netns = host.pod();
      const conf = { cniVersion: '1.1.0', name: 'culvert', type: 'culvert', nodeFile };
      const call = { plugin: 'culvert', command: 'ADD', conf, containerId: `c${i}`, netns, ifname: 'eth0' };
      expect(host.call(call).status).toBe(0);
      if (i < 9) host.removePod(netns);
    }
    await until('swept', () => freed().length === 9, 30_000);
    expect(leased(host, 'culvert')).toHaveLength(2);
  });

  it('says what keeps it from looking, and goes on', async () => {
    writeFileSync(join(dataDir(host), 'net'), '');
    rmSync(dataDir(host), { recursive: true });
    writeFileSync(dataDir(host), '');
    await startAgent({ everySeconds: 1, graceSeconds: 1 });
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(JSON.parse(agent.get('/readyz'))).toMatchObject({ ready: true });
  });
});

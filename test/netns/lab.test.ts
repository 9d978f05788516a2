/** The lab as its users run it: the built executable, real agents, real plugins, real namespaces. */

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { binDir, run } from '../support/netns.ts';
import { pidsWith } from '../support/processes.ts';

const topologies = join(import.meta.dirname, '../../conf/lab');
const threeNodes = join(topologies, 'three-nodes.yaml');
const name = `lt${randomBytes(3).toString('hex')}`;
const stateDir = mkdtempSync(join(tmpdir(), 'culvert-lab-'));

const labArgs = (args: readonly string[]): string[] => {
  const dashes = args.indexOf('--');
  const at = dashes < 0 ? args.length : dashes;
  return ['lab', ...args.slice(0, at), '--name', name, '--state', stateDir, ...args.slice(at)];
};

/** `culvert lab …` with this test's lab; no exit code is an error. */
const lab = (...args: string[]) => execa(join(binDir, 'culvert'), labArgs(args), { reject: false });

const up = async (...args: string[]) => {
  const ran = await lab('up', ...args);
  expect(ran.stderr).toBe('');
  expect(ran.exitCode).toBe(0);
};

/** An `up` that is killed on the way. */
async function killedUp(afterMs: number): Promise<void> {
  const child = spawn(join(binDir, 'culvert'), labArgs(['up', threeNodes]), { stdio: 'ignore', detached: true });
  await sleep(afterMs);
  child.kill('SIGKILL');
}

interface Status {
  nodes: { name: string; mode: string; agent: string; pid: number; pods: { name: string; addresses: string[] }[] }[];
  paths: { from: string; to: string; family: number; path: string }[];
  healthy: boolean;
}

const status = async () => JSON.parse((await lab('status', '--json')).stdout) as Status;
const addressesOf = (s: Status, pod: string) => s.nodes.flatMap((n) => n.pods).find((p) => p.name === pod)!.addresses;
const pathsOf = (s: Status, from: string) => s.paths.filter((p) => p.from === from).map((p) => `${p.to} ${p.path}`);

async function expectPing(from: string, address: string): Promise<void> {
  const ping = ['ping', '-n', '-c1', '-W2', address];
  const ran = await execa('nsenter', [`--net=/run/netns/${name}.${from}`, '--', ...ping], { reject: false });
  expect(`${from} > ${address}: ${ran.stdout}`).toContain(' 0% packet loss');
}

/** A pod of every node reaches one of every other node, in both families. */
async function expectAllReachable(): Promise<void> {
  const found = await status();
  expect(found.healthy).toBe(true);
  for (const from of found.nodes) {
    for (const to of found.nodes.filter((n) => n !== from)) {
      for (const address of addressesOf(found, `${to.name}-pod2`)) await expectPing(`${from.name}-pod1`, address);
    }
  }
}

const namespaces = () => readdirSync('/run/netns').filter((n) => n.startsWith(`${name}.`));
/** What the machine's own namespace holds. */
const ownNetwork = () =>
  [
    ['ip', '-o', 'link'],
    ['ip', '-4', 'route', 'show', 'table', 'all'],
    ['ip', '-6', 'route', 'show', 'table', 'all'],
    ['ip', 'rule'],
    ['nft', 'list', 'tables'],
  ].map((argv) => run(argv));

/** Processes that carry this lab's name. */
const processes = () => pidsWith('environ', `CULVERT_LAB=${name}\0`);

afterAll(async () => {
  await lab('down');
  rmSync(stateDir, { recursive: true, force: true });
});

describe('culvert lab on three nodes', () => {
  const before = ownNetwork();
  beforeAll(() => up(threeNodes));

  it('attaches every pod in both families, and every pod reaches every node’s pods', expectAllReachable);

  it('tells the paths that the kernels take', async () => {
    const found = await status();
    expect(found.nodes.map((n) => [n.name, n.mode, n.agent])).toEqual([
      ['node1', 'vxlan', 'ready'],
      ['node2', 'vxlan', 'ready'],
      ['node3', 'vxlan', 'ready'],
    ]);
    expect(new Set(found.paths.map((p) => p.path))).toEqual(new Set(['vxlan']));
    expect(found.paths.length).toBe(12);
  });

  it('changes nothing the second time', async () => {
    const first = await status();
    await up();
    expect(await status()).toEqual(first);
  });

  it('passes exit codes and output of exec on, and its own options not', async () => {
    const ran = await lab('exec', 'router', '--', 'sh', '-c', 'echo "$0"; exit 7', '--help');
    expect([ran.exitCode, ran.stdout]).toEqual([7, '--help']);
    expect((await lab('exec', 'nobody', '--', 'true')).exitCode).toBe(3);
    expect((await lab('exec', 'router')).exitCode).toBe(2);
  });

  it('changes the mode of a living lab', async () => {
    await up('--set', 'mode=routed');
    expect(pathsOf(await status(), 'node1')).toEqual([
      'node2 direct',
      'node2 direct',
      'node3 via 192.168.1.1',
      'node3 via fd00:192:168:1::1',
    ]);
    await expectAllReachable();
    await up('--set', 'mode=vxlan', '--set', 'sameSubnet=direct');
    expect(pathsOf(await status(), 'node1')).toEqual(['node2 direct', 'node2 direct', 'node3 vxlan', 'node3 vxlan']);
    await expectAllReachable();
  });

  it('leaves the machine’s own network alone', () => {
    expect(ownNetwork()).toEqual(before);
  });

  it('reports an agent that was killed, and brings it back', async () => {
    process.kill((await status()).nodes[1]!.pid, 'SIGKILL');
    await expect.poll(async () => (await status()).nodes[1]!.agent).toBe('down');
    expect((await lab('status')).exitCode).toBe(1);
    await up();
    await expectAllReachable();
  });

  it('makes deleted namespaces of a node, a router and a pod anew', async () => {
    for (const host of ['node1', 'router', 'node3-pod2']) {
      run(['ip', 'netns', 'del', `${name}.${host}`]);
      await up();
      await expectAllReachable();
    }
  });

  it('mends what somebody took from a node and from a pod', async () => {
    await lab('exec', 'node2', '--', 'ip', 'link', 'delete', 'eth0');
    await lab('exec', 'node3-pod1', '--', 'ip', 'addr', 'flush', 'dev', 'eth0');
    await up();
    await expectAllReachable();
  });

  it('becomes another topology, with nothing of the old one left', async () => {
    await up(join(topologies, 'one-subnet.yaml'));
    expect(namespaces().sort()).toEqual(['left', 'ping', 'pong', 'right'].map((h) => `${name}.${h}`));
    await expectPing('ping', addressesOf(await status(), 'pong')[0]!);
  });

  it('goes without a trace, and says so when there is nothing', async () => {
    expect((await lab('down')).stdout).toMatch(/4 namespaces, [0-9]+ processes and its files$/);
    expect([namespaces(), processes(), existsSync(join(stateDir, name))]).toEqual([[], [], false]);
    expect(ownNetwork()).toEqual(before);
    expect((await lab('down')).stdout).toBe(`there is no lab ${name}: nothing to remove`);
    expect((await lab('status')).exitCode).toBe(3);
  });
});

describe('culvert lab after a crash', () => {
  afterEach(() => lab('down'));

  it.each([50, 200, 400, 600, 800, 1000, 1100, 1200, 1300, 1500])(
    'heals an up that was killed after %d ms',
    async (afterMs) => {
      await killedUp(afterMs);
      await up(threeNodes);
      await expectAllReachable();
      const agents = (await status()).nodes.map((n) => n.pid);
      const running = processes().filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('\0agent\0'));
      expect(running.sort()).toEqual(agents.sort());
    },
  );

  it('goes down half made and without its files', async () => {
    await killedUp(700);
    rmSync(join(stateDir, name), { recursive: true, force: true });
    await lab('down');
    expect([namespaces(), processes()]).toEqual([[], []]);
  });
});

describe('culvert lab demo', () => {
  const demo = () => execa(join(binDir, 'culvert'), labArgs(['demo', threeNodes, '--checks']), { reject: false });
  const left = () => [namespaces(), processes(), existsSync(join(stateDir, name))];

  it.each(['the network', 'attached'])('leaves nothing when it is interrupted after saying "%s"', async (words) => {
    const child = demo();
    child.stdout.on('data', (text) => String(text).includes(words) && child.kill('SIGINT'));
    const { exitCode, stdout } = await child;
    expect([exitCode, ...left()]).toEqual([1, [], [], false]);
    expect(stdout).toContain('✗ the demo ran to its end: got interrupted; want no error');
  });

  it('leaves nothing when its reader goes away', async () => {
    const child = demo();
    child.stdout.on('data', (text) => String(text).includes('attached') && child.stdout.destroy());
    const { exitCode } = await child;
    expect([exitCode, ...left()]).toEqual([1, [], [], false]);
  });
});

describe('culvert lab with wrong input', () => {
  it('names the wrong fields and touches nothing', async () => {
    const ran = await lab('up', threeNodes, '--set', 'node=x');
    expect(ran.exitCode).toBe(2);
    expect(ran.stderr).toContain('agent.node: got "x", want nothing here');
    expect(namespaces()).toEqual([]);
  });

  it('gives the agent’s own words for a setting it refuses', async () => {
    const ran = await lab('up', join(topologies, 'one-subnet.yaml'), '--set', 'mode=pigeon');
    expect(ran.exitCode).toBe(1);
    expect(ran.stderr).toContain('pigeon');
    await lab('down');
  });

  it.each([
    [['sideways'], 'want up, status, exec, down or demo'],
    [['up', 'missing.yaml'], 'missing.yaml'],
    [['up', '--name', 'A/B'], '--name: got "A/B"'],
    [['down', 'x'], 'want nothing after it'],
  ])('refuses %j as wrong usage', async (args, words) => {
    const ran = await execa(join(binDir, 'culvert'), ['lab', ...args], { reject: false });
    expect([ran.exitCode, ran.stderr.includes(words)]).toEqual([2, true]);
  });
});

/**
 * `culvert serve`: plugins executed by a process that is there already, and by themselves wherever it does not answer, or cannot be
 * relied on. KILL_SEED repeats the moments of the kills.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readMark } from '../../src/agent/install/mark.ts';
import { socketPath } from '../../src/serve/serve.ts';
import { attach, dualStack, ruleset, veths } from '../support/bridge.ts';
import { Dice } from '../support/dice.ts';
import { leased } from '../support/ipam.ts';
import { binDir, Host, inside, run } from '../support/netns.ts';
import { failureOf, type Pod, resultOf } from '../support/pod.ts';
import { Runtime } from '../support/runtime.ts';
import { Served } from '../support/served.ts';

const seed = Number(process.env['KILL_SEED'] ?? Date.now() % 1_000_000);
const keys = { isDefaultGateway: true, ipMasq: true };

let host: Host;
let served: Served | undefined;
let impostor: Server | undefined;
beforeEach(() => {
  host = new Host('serve');
});
afterEach(async () => {
  served?.stop();
  served = undefined;
  if (impostor) await new Promise((resolve) => impostor?.close(resolve));
  impostor = undefined;
  host.remove();
});

const start = (...args: string[]): Served => {
  served = Served.start(host.netns, binDir, ...args);
  return served;
};

const pod = (): Pod => attach(host, keys, { ipam: dualStack });

const exitOf = (child: ChildProcess): Promise<number | string | null> =>
  new Promise((resolve) => child.on('close', (code, signal) => resolve(code ?? signal))); // all was read

/** Programs that an execution of a pod's plugin became or started, by the kernel's account. */
function programsOf(p: Pod, command: string): string[] {
  const log = join(host.dir, 'trace');
  const env = [`CNI_COMMAND=${command}`, `CNI_CONTAINERID=${p.id}`, `CNI_NETNS=${p.netns}`, 'CNI_IFNAME=eth0'];
  const traced = ['strace', '-f', '-qq', '-e', 'trace=execve', '-e', 'signal=none', '-o', log, 'env', ...env];
  run([...inside(host.netns, traced.join(' ')), `CNI_PATH=${binDir}`, join(binDir, 'bridge')], JSON.stringify(p.conf));
  const files = [...readFileSync(log, 'utf8').matchAll(/execve\("([^"]*)".*\) = 0$/gm)].map(([, file]) => file!);
  return files.slice(files.indexOf(join(binDir, 'bridge')) + 1);
}

/** Somebody who answers in the place of `culvert serve`. */
async function pose(greeting: string, answer: string, backlog = 511): Promise<void> {
  const socket = socketPath(host.netns);
  mkdirSync(dirname(socket), { recursive: true, mode: 0o700 });
  impostor = createServer((peer) => {
    peer.on('error', () => {});
    peer.write(greeting);
    peer.once('data', () => peer.end(answer));
  });
  await new Promise<void>((resolve) => impostor?.listen({ path: socket, backlog }, resolve));
}

/** An execution that waits for its input. */
function begin(p: Pod, command: string) {
  const env = { CNI_COMMAND: command, CNI_CONTAINERID: p.id, CNI_NETNS: p.netns, CNI_IFNAME: 'eth0', CNI_PATH: binDir };
  const argv = inside(host.netns, join(binDir, 'bridge'));
  return spawn(argv[0]!, argv.slice(1), { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'ignore'] });
}

/** One that leaves this process's loop at work: an impostor here has to answer it. */
async function call(p: Pod, command: string): Promise<{ status: number | string | null; stdout: string }> {
  const child = begin(p, command);
  let stdout = '';
  child.stdout.on('data', (text: Buffer) => {
    stdout += text;
  });
  child.stdin.end(JSON.stringify(p.conf));
  return { status: await exitOf(child), stdout };
}

const greeting = `culvert ${readMark(join(binDir, 'culvert'))?.build}\n`;

describe('an execution that is served', () => {
  it('starts no program, and does what it would have done itself', () => {
    const alone = pod();
    const without = alone.add();
    alone.del();
    start();
    const [one, other] = [pod(), pod()];
    expect(programsOf(one, 'ADD')).toEqual([]);
    expect(one.exec('ping -n -c 1 -W 2 10.1.2.1')).toContain(' 0% packet loss');
    const result = other.add();
    expect(Object.keys(result)).toEqual(Object.keys(without));
    expect(other.check(result)).toMatchObject({ status: 0, stdout: '' });
    for (const p of [one, other]) expect(programsOf(p, 'DEL')).toEqual([]);
    expect(veths(host)).toEqual([]);
    expect(leased(host)).toEqual([]);
    expect(programsOf(pod(), 'VERSION')).toEqual([]);
  });

  it('says what another vendor’s IPAM plugin says, line breaks and all', async () => {
    await pose(greeting, '0 4 2\n\n\n a{}');
    expect(await call(pod(), 'VERSION')).toEqual({ status: 0, stdout: '{}' });
  });

  it('answers errors and remarks as it would itself', () => {
    const p = attach(host, { ...keys, mtu: 'big', unknownKey: 1 }, { ipam: dualStack });
    const iptables = attach(host, { ...keys, ipMasqBackend: 'iptables' }, { ipam: dualStack });
    const said = () => [p.call('ADD'), iptables.call('STATUS'), p.call('NONSENSE'), p.call('ADD', { conf: '{' })];
    const alone = said();
    start();
    expect(said()).toEqual(alone);
  });

  it('takes an input of 10 MB, and text of any language', () => {
    start();
    const note = '⛵'.repeat(3_500_000);
    const answer = pod().call('ADD', { conf: { ...pod().conf, mtu: 'big', note } });
    expect(failureOf(answer)).toMatchObject({ code: 7 });
  });

  it('of a namespace whose path only its own process understands is done by that', () => {
    start();
    expect(pod().call('ADD', { netns: '/proc/self/ns/net' }).json).toMatchObject({ code: 8 });
    expect(pod().call('ADD', { netns: '/dev/fd/0' }).json).toMatchObject({ code: 4 });
    const p = pod();
    const odd = `${p.netns} "odd"`;
    run(['ip', 'netns', 'attach', odd.slice('/run/netns/'.length), String(process.pid)]);
    try {
      expect(failureOf(p.call('ADD', { netns: `${odd}x` }))).toMatchObject({ code: 4 });
    } finally {
      run(['ip', 'netns', 'delete', odd.slice('/run/netns/'.length)]);
    }
  });

  it('leaves no descriptor, process or timer behind in who serves it', async () => {
    const { child } = start();
    const open = () => readdirSync(`/proc/${child.pid}/fd`).length;
    const children = () => readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim();
    const once = () => {
      const p = pod();
      resultOf(p.call('ADD'));
      p.del();
      host.removePod(p.netns);
    };
    once();
    await sleep(500);
    const before = open();
    for (let i = 0; i < 20; i++) once();
    await expect.poll(open, { timeout: 10_000 }).toBe(before);
    await expect.poll(children, { timeout: 10_000 }).toBe('');
  });

  it.each([1, 8])('50 at once, %i at a time: addresses are unique, and nothing is left', async (width) => {
    start('--width', String(width));
    const { conf } = pod();
    const runtime = new Runtime(host, [{ ...conf, type: 'bridge' }]);
    const containers = Array.from({ length: 50 }, (_, i) => ({ id: `c${i}`, netns: host.pod() }));
    const results = await Promise.all(containers.map((c) => runtime.add(c)));
    const addresses = results.flatMap((r) => r!.ips!.map((ip) => ip.address));
    expect(new Set(addresses).size).toBe(100);
    await Promise.all(containers.map((c) => runtime.del(c)));
    expect([veths(host), leased(host)]).toEqual([[], []]);
  });
});

describe('an execution that nobody serves', () => {
  it('is done by itself while who serves is stopped, and after it was killed', async () => {
    const { child, socket } = start();
    const stopped = pod();
    child.kill('SIGSTOP');
    stopped.add();
    child.kill('SIGCONT');
    stopped.del();
    child.kill('SIGKILL');
    await exitOf(child);
    expect(existsSync(socket)).toBe(true);
    const p = pod();
    expect(programsOf(p, 'ADD')).toContain(join(binDir, 'culvert-node'));
    start();
    expect(programsOf(p, 'DEL')).toEqual([]);
  });

  it.each([
    ['greets as another build', 'culvert 0000000000000000\n', ''],
    ['greets as something else', 'HTTP/1.1 200 OK\r\n\r\n<html><body></body></html>', ''],
    ['declines', greeting, 'decline\n'],
  ])('is done by itself when who answers %s', async (_, hello, answer) => {
    await pose(hello, answer);
    const p = pod();
    expect(await call(p, 'ADD')).toMatchObject({ status: 0 });
    expect(await call(p, 'DEL')).toMatchObject({ status: 0 });
  });

  it.each([
    ['nothing', ''],
    ['half an answer', '0 0 100\n{"cniVersion"'],
    ['no answer', 'what?\n'],
    ['more than it says', '0 0 1\nabc'],
  ])('and comes back as %s: ADD is an error to try again, everything else is done by itself', async (_, answer) => {
    await pose(greeting, answer);
    const p = pod();
    const { status, stdout } = await call(p, 'ADD');
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ code: 11, msg: expect.stringContaining('try again') });
    expect(await call(p, 'DEL')).toEqual({ status: 0, stdout: '' });
    expect(JSON.parse((await call(p, 'VERSION')).stdout)).toHaveProperty('supportedVersions');
  });

  it('is done by itself when nobody looks at a queue that is full', async () => {
    await pose(greeting, '', 1); // which this process does not while it waits for what it runs
    for (let i = 0; i < 5; i++) expect(pod().call('VERSION').json).toHaveProperty('supportedVersions');
  });

  it('is done by itself without a standard input, output or error', () => {
    start();
    const p = pod();
    const env = `CNI_CONTAINERID=${p.id} CNI_NETNS=${p.netns} CNI_IFNAME=eth0 CNI_PATH=${binDir}`;
    const closed = (redirection: string) =>
      host.try(`sh`, `CNI_COMMAND=VERSION ${env} timeout 10 ${join(binDir, 'bridge')} ${redirection}; echo $?`).stdout;
    expect(closed('<&-')).toMatch(/supportedVersions.*\n0\n$/);
    expect(closed('</dev/null 2>&-')).toMatch(/supportedVersions.*\n0\n$/);
    expect(closed('</dev/null >&-')).toMatch(/^\d+\n$/);
  });

  it('is done by itself for another user than root, and in another mount namespace', () => {
    start();
    const env = `CNI_COMMAND=VERSION CNI_PATH=${binDir}`;
    for (const other of ['setpriv --reuid 65534 --clear-groups', 'unshare --mount']) {
      const log = join('/tmp', `${host.name}-trace`);
      const line = `strace -f -qq -e trace=execve -o ${log} ${other} env ${env} ${join(binDir, 'bridge')}`;
      host.exec(line, '{"cniVersion":"1.1.0"}');
      expect(readFileSync(log, 'utf8')).toContain('/culvert-node"');
      rmSync(log);
    }
  });

  it('and that finds no culvert-node beside it says so', () => {
    const alone = join(host.dir, 'bridge');
    copyFileSync(join(binDir, 'culvert'), alone);
    chmodSync(alone, 0o755);
    const { stderr, json } = pod().call('ADD', { bin: host.dir });
    expect(json).toMatchObject({ code: 100, msg: expect.stringContaining('culvert install') });
    expect(stderr).toContain(join(host.dir, 'culvert-node'));
  });
});

describe('culvert serve', () => {
  it('is one for a network, mount and process namespace', () => {
    start();
    const again = host.try(`${join(binDir, 'culvert')} serve`);
    expect(again).toMatchObject({ status: 3, stderr: expect.stringContaining('another culvert serve answers') });
    expect(host.try(`${join(binDir, 'culvert')} serve --width 0`)).toMatchObject({ status: 2 });
    expect(host.try(`${join(binDir, 'culvert')} serve now`)).toMatchObject({ status: 2 });
  });

  it('told to end, ends what it has begun, and leaves no socket', async () => {
    const { child, socket } = start();
    const begun = Promise.all(Array.from({ length: 8 }, () => call(pod(), 'ADD')));
    await sleep(150);
    child.kill('SIGTERM');
    expect(await exitOf(child)).toBe(0);
    expect(existsSync(socket)).toBe(false);
    for (const { status } of await begun) expect(status).toBe(0);
  });

  it('told to end, lets those do it themselves that have not said yet what to do', async () => {
    const { child } = start();
    const p = pod();
    const waiting = begin(p, 'ADD');
    waiting.stdout.resume();
    await sleep(500);
    child.kill('SIGTERM');
    expect(await exitOf(child)).toBe(0);
    waiting.stdin.end(JSON.stringify(p.conf));
    expect(await exitOf(waiting)).toBe(0);
    p.del();
  });

  it('ends when another build takes the place of its file', async () => {
    const bin = join(host.dir, 'bin');
    mkdirSync(bin);
    for (const name of ['culvert', 'culvert-node']) copyFileSync(join(binDir, name), join(bin, name));
    served = Served.start(host.netns, bin);
    copyFileSync(join(binDir, 'culvert-node'), join(bin, 'next'));
    renameSync(join(bin, 'next'), join(bin, 'culvert-node'));
    expect(await exitOf(served.child)).toBe(0);
    expect(served.said).toContain('another build by now');
  });
});

describe('where an agent has asked for it', () => {
  /** What a host is by itself: a first process in network, mount and process namespaces, with a /run/culvert of its own. */
  let node: ChildProcess;
  let first: string;
  const on = (line: string, input = ''): string =>
    run(['nsenter', `--target=${first}`, '--net', '--mount', '--pid', '--', 'sh', '-c', line], input);
  const serving = (): string => on('pgrep -f ^culvert.serve || true').trim();
  const version = (): string => on(`CNI_COMMAND=VERSION CNI_PATH=${binDir} ${join(binDir, 'loopback')}`, '{}');
  beforeEach(async () => {
    const script = 'mkdir -p /run/culvert && mount -t tmpfs serve /run/culvert && echo made && exec sleep 1000';
    const unshare = ['unshare', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
    node = spawn('nsenter', [`--net=${host.netns}`, '--', ...unshare, 'sh', '-c', script]);
    await new Promise((resolve) => node.stdout?.once('data', resolve));
    first = readFileSync(`/proc/${node.pid}/task/${node.pid}/children`, 'utf8').trim();
  });
  afterEach(async () => {
    on('rm -rf /run/culvert/serve');
    await expect.poll(serving, { timeout: 10_000 }).toBe('');
    node.kill('SIGKILL');
    await exitOf(node);
  });

  it('the first execution starts it, and it ends when it is wanted no longer', async () => {
    expect(version()).toContain('supportedVersions');
    expect(serving()).toBe('');
    on('mkdir -m 700 /run/culvert/serve && touch -d @0 /run/culvert/serve/wanted');
    expect(version()).toContain('supportedVersions');
    await expect.poll(() => on('ls /run/culvert/serve'), { timeout: 10_000 }).toMatch(/^\d+-\d+-\d+-\d+\nwanted\n$/);
    const pid = serving();
    expect(pid).toMatch(/^\d+$/);
    // nothing of the runtime's: neither its variables nor its descriptors, its folder or its session
    expect(on(`tr '\\0' '\\n' </proc/${pid}/environ`)).toMatch(/^PATH=[^\n]*\n$/);
    expect(on(`ls -l /proc/${pid}/fd | grep -E ' [012] ->'`).match(/\/dev\/null/g)).toHaveLength(3);
    expect(on(`readlink /proc/${pid}/cwd`)).toBe('/\n');
    for (let i = 0; i < 5; i++) version();
    expect(serving()).toBe(pid);
    on('rm /run/culvert/serve/wanted');
    await expect.poll(serving, { timeout: 10_000 }).toBe('');
    expect(on('ls /run/culvert/serve')).toBe('');
    expect(version()).toContain('supportedVersions');
  });

  it('nobody starts it in namespaces that were made for one execution', async () => {
    on('mkdir -m 700 /run/culvert/serve && touch -d @0 /run/culvert/serve/wanted');
    const env = `CNI_COMMAND=VERSION CNI_PATH=${binDir}`;
    for (const kind of ['--mount', '--net']) on(`unshare ${kind} env ${env} ${join(binDir, 'loopback')} </dev/null`);
    await sleep(500);
    expect(serving()).toBe('');
  });

  it('many at once start one, and one that was killed comes back, ten seconds after the last try', async () => {
    on('mkdir -m 700 /run/culvert/serve && touch -d @0 /run/culvert/serve/wanted');
    const call = `CNI_COMMAND=VERSION CNI_PATH=${binDir} ${join(binDir, 'loopback')} </dev/null >/dev/null`;
    on(`for i in 1 2 3 4 5 6 7 8; do ${call} & done; wait`);
    const socket = () => on('ls /run/culvert/serve | grep -v wanted || true').trim();
    await expect.poll(socket, { timeout: 10_000 }).not.toBe('');
    const first = serving();
    expect(first).toMatch(/^\d+$/);
    on(`kill -9 ${first}`);
    on('touch /run/culvert/serve/wanted'); // as if it had been tried just now
    version();
    await sleep(1000);
    expect(serving()).toBe('');
    on('touch -d "11 seconds ago" /run/culvert/serve/wanted');
    version();
    await expect.poll(serving, { timeout: 10_000 }).toMatch(/^\d+$/);
  });
});

describe('kill -9', () => {
  it('of served ADDs, each followed by DEL at once: nothing is left', async () => {
    start();
    const { chance } = new Dice(seed);
    const runtime = new Runtime(host, [{ ...pod().conf, type: 'bridge' }]);
    for (let i = 0; i < 40; i++) {
      const container = { id: `k${i}`, netns: host.pod() };
      await runtime.add(container, { afterMs: 1 + chance() * 60, group: false });
      await runtime.del(container);
      host.removePod(container.netns);
    }
    expect([veths(host), leased(host)], `KILL_SEED=${seed}`).toEqual([[], []]);
    expect(ruleset(host)).not.toMatch(/elements/); // no pod's masquerade
  });

  it('of who serves, in the middle of many: what DEL and a GC leave is nothing', async () => {
    const { chance } = new Dice(seed);
    const { conf } = pod();
    for (let round = 0; round < 8; round++) {
      const { child } = start();
      const pods = Array.from({ length: 6 }, pod);
      const begun = pods.map((p) => call(p, 'ADD'));
      await sleep(10 + chance() * 200);
      child.kill('SIGKILL');
      const answers = await Promise.all(begun);
      for (const { status, stdout } of answers) {
        if (status !== 0) expect(JSON.parse(stdout), `KILL_SEED=${seed}`).toMatchObject({ code: 11 });
      }
      for (const p of pods) p.del();
      for (const p of pods) host.removePod(p.netns);
    }
    host.call({ plugin: 'bridge', command: 'GC', conf: { ...conf, 'cni.dev/valid-attachments': [] } });
    expect([veths(host), leased(host)], `KILL_SEED=${seed}`).toEqual([[], []]);
  });
});

/**
 * A machine for container engines: a `Host` with files and processes of its own besides. /etc is a copy, /run, /var/lib and /opt
 * are empty but for the plugins under test in /opt/cni/bin, so an engine runs with its default paths and never meets the one
 * that this computer may have. All of it is gone when its first process ends.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { binDir, Host, type Ran } from './netns.ts';

/** Run by the machine's first process with the folder to build in and the plugins' folder; then it reaps what is orphaned. */
const boot = `
set -e
mkdir "$1/root"
mount -t tmpfs -o mode=755 machine "$1/root"
cd "$1/root"
mkdir -p run/netns run/lock var-lib opt/cni/bin
cp -a /etc etc
rm -rf etc/cni etc/containers/containers.conf* etc/containers/networks
mkdir -p etc/cni/net.d
mount --bind "$2" opt/cni/bin
for dir in etc run opt; do mount --rbind $dir /$dir; done
mount --bind var-lib /var/lib
cd /
echo ready
while :; do sleep infinity & wait $! || :; done`;

export class Machine {
  readonly host: Host;
  /** Its first process, and when that has ended. */
  readonly #pid: number;
  readonly #gone: Promise<unknown>;

  private constructor(host: Host, pid: number, gone: Promise<unknown>) {
    this.host = host;
    this.#pid = pid;
    this.#gone = gone;
  }

  static async start(label: string): Promise<Machine> {
    const host = new Host(label);
    const own = ['unshare', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
    const argv = [`--net=${host.netns}`, '--', ...own, 'bash', '-c', boot, 'boot', host.dir, binDir];
    const child = spawn('nsenter', argv, { stdio: ['ignore', 'pipe', 'pipe'] });
    let complaint = '';
    child.stderr.on('data', (chunk: Buffer) => {
      complaint += chunk;
    });
    const gone = once(child, 'exit');
    const failed = gone.then(() => Promise.reject(new Error(`the machine did not start: ${complaint}`)));
    await Promise.race([once(child.stdout, 'data'), failed]);
    failed.catch(() => {}); // from here on it is meant
    const pid = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8'));
    return new Machine(host, pid, gone);
  }

  /** A path of this machine as the test can open it. */
  path(path: string): string {
    return `/proc/${this.#pid}/root${path}`;
  }

  /** The network namespace of one of its processes, by the machine's own process number. */
  netnsOf(pid: number | string): string {
    return this.path(`/proc/${pid}/ns/net`);
  }

  write(path: string, content: string): void {
    mkdirSync(dirname(this.path(path)), { recursive: true });
    writeFileSync(this.path(path), content);
  }

  read(path: string): string {
    return readFileSync(this.path(path), 'utf8');
  }

  #argv(argv: readonly string[]): string[] {
    return [`--target=${this.#pid}`, '--net', '--mount', '--pid', '--', ...argv];
  }

  try(argv: readonly string[], input?: string): Ran {
    const r = spawnSync('nsenter', this.#argv(argv), { encoding: 'utf8', input, timeout: 60_000 });
    return { status: r.status ?? -1, stdout: r.stdout, stderr: r.stderr || String(r.error ?? '') };
  }

  /** Runs a program; throws with its output unless it ends with 0. */
  run(argv: readonly string[], input?: string): string {
    const r = this.try(argv, input);
    if (r.status !== 0) throw new Error(`${argv.join(' ')}: exit ${r.status}: ${r.stderr}${r.stdout}`);
    return r.stdout.trim();
  }

  /** A program that goes on; its output goes to a file of the machine's. */
  start(argv: readonly string[], log: string): void {
    const line = `exec "$@" >'${log}' 2>&1`;
    spawn('nsenter', this.#argv(['sh', '-c', line, 'sh', ...argv]), { stdio: 'ignore' });
  }

  /** Ends every process but the first, as losing power would; files and namespaces stay. */
  killAll(): void {
    this.try(['sh', '-c', 'kill -9 -1']);
  }

  /** Ends it, with all that runs and all that is mounted in it, and removes the cgroups that its engines made. */
  async remove(): Promise<void> {
    process.kill(this.#pid, 'SIGKILL');
    await this.#gone;
    for (let tries = 0; removeCgroups(this.host.name) !== '' && tries < 50; tries++) await sleep(100);
    this.host.remove();
  }
}

/** Those in a path with the machine's name, and podman's own parent unless a podman of this computer uses it. Answers what stays. */
function removeCgroups(name: string): string {
  const find = (path: string, ...more: string[]): string =>
    spawnSync('find', ['/sys/fs/cgroup', '-depth', '-type', 'd', '-path', path, ...more], { encoding: 'utf8' }).stdout;
  find('*/libpod_parent*', '-delete');
  find(`*/${name}*`, '-delete');
  return find(`*/${name}*`);
}

/** The plugins' folder on every machine. */
export const pluginDir = '/opt/cni/bin';

/** scripts/kube-lab for tests: a cluster under a name of its own, gone when the file's tests are over. */

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { until } from '../../support/agents.ts';
import { type Ran, run } from '../../support/netns.ts';

const script = join(import.meta.dirname, '../../../scripts/kube-lab');

export class KubeLab {
  /** KUBE_LAB_NAME lets two runs stand beside each other. */
  readonly name = process.env['KUBE_LAB_NAME'] ?? 'cklt';
  readonly dir = `/var/tmp/culvert-${this.name}`;
  readonly #env: NodeJS.ProcessEnv;

  /** `tokens`: what the API server takes for whom. */
  constructor(tokens = '') {
    this.#env = { ...process.env, KUBE_LAB_NAME: this.name, KUBE_LAB_DIR: this.dir, KUBE_LAB_TOKENS: tokens };
  }

  try(argv: readonly string[], input?: string): Ran {
    const options = { input, env: this.#env, timeout: 170_000, maxBuffer: 64 * 1024 * 1024 };
    const r = spawnSync(script, argv, { encoding: 'utf8', ...options });
    return { status: r.status ?? -1, stdout: r.stdout, stderr: r.stderr || String(r.error ?? '') };
  }

  /** A command of the lab; throws with its output unless it ends with 0. */
  do(...argv: string[]): string {
    const r = this.try(argv);
    if (r.status !== 0) throw new Error(`kube-lab ${argv.join(' ')}: exit ${r.status}: ${r.stderr}${r.stdout}`);
    return r.stdout;
  }

  /** A lab of before that was not taken down is first. */
  up(nodes: number): void {
    this.down();
    this.do('up', String(nodes));
  }

  down(): void {
    this.do('down');
  }

  /** Starts the API server, if it does not run, and waits until it answers. */
  async startApiServer(): Promise<void> {
    this.do('start', 'apiserver');
    await until('the API server answers', () => this.try(['kubectl', 'get', '--raw', '/readyz']).status === 0, 60_000);
  }

  kubectl(line: string): string {
    return this.do('kubectl', ...line.split(' '));
  }

  /** Creates or changes an object. */
  apply(object: object): void {
    const r = this.try(['kubectl', 'apply', '-f', '-'], JSON.stringify(object));
    if (r.status !== 0) throw new Error(r.stderr);
  }

  get<T>(line: string): T {
    return JSON.parse(this.kubectl(`get ${line} -o json`)) as T;
  }

  /** A command line on a node. */
  on(node: string, line: string): Ran {
    return this.try(['exec', node, ...line.split(' ')]);
  }

  /** Lets a network namespace reach the API server, by a link with this address. */
  join(netns: string, dev: string, addresses: readonly string[]): void {
    const control = `${this.name}-control`;
    const port = netns.slice(-8);
    run(['ip', '-n', netns, 'link', 'add', dev, 'type', 'veth', 'peer', 'name', port, 'netns', control]);
    run(['ip', '-n', control, 'link', 'set', port, 'master', 'nodes', 'up']);
    run(['ip', '-n', netns, 'link', 'set', dev, 'up']);
    for (const address of addresses) run(['ip', '-n', netns, 'address', 'add', address, 'dev', dev, 'nodad']);
  }

  /** Makes a bridge of another network namespace, that of a process, one with the link of the lab's nodes. */
  joinBridge(pid: number, bridge: string): void {
    const peer = ['peer', 'name', 'kube', 'netns', String(pid)];
    run(['ip', '-n', `${this.name}-control`, 'link', 'add', 'other', 'master', 'nodes', 'up', 'type', 'veth', ...peer]);
    run(['nsenter', `--net=/proc/${pid}/ns/net`, '--', 'ip', 'link', 'set', 'kube', 'master', bridge, 'up']);
  }
}

/** Three nodes with agents as real processes: n1 and n2 on one link, n3 behind a router; one pod each, faked by hand. */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { nodesOf, type Stack } from './cluster.ts';
import { binDir, Host, run } from './netns.ts';

export type Line = { level: string; msg: string } & Record<string, unknown>;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** How many times longer this machine may take than a usual one: an emulated processor is slow. */
export const patience = Number(process.env['CULVERT_PATIENCE'] ?? 1);

/** Waits until a condition holds; throws after the time with what it says about itself. */
export async function until(what: string | (() => string), holds: () => boolean, usualMs = 30_000): Promise<void> {
  const ms = usualMs * patience;
  const end = Date.now() + ms;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${typeof what === 'string' ? what : what()}`);
    await sleep(20);
  }
}

/** One agent process on a host. */
export class Agent {
  readonly host: Host;
  readonly name: string;
  process: ChildProcess | undefined;
  output = '';

  constructor(host: Host, name: string) {
    this.host = host;
    this.name = name;
  }

  get configFile(): string {
    return join(this.host.dir, 'agent.yaml');
  }

  /** Writes the configuration (YAML takes JSON); paths are inside the host's folder. */
  configure(config: object, cluster: string): void {
    const { dir } = this.host;
    const paths = {
      run: join(dir, 'run'),
      state: join(dir, 'state'),
      cniConf: join(dir, 'cni'),
      leases: join(dir, 'leases'),
    };
    const whole = { node: this.name, cluster: { source: 'file', file: cluster }, paths, ...config };
    writeFileSync(this.configFile, JSON.stringify(whole));
  }

  start(): void {
    this.output = '';
    const argv = [`--net=${this.host.netns}`, '--', join(binDir, 'culvert'), 'agent', '--config', this.configFile];
    this.process = spawn('nsenter', argv, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.process.stdout!, this.process.stderr!]) {
      stream.on('data', (chunk: Buffer) => {
        this.output += chunk.toString();
      });
    }
  }

  get lines(): Line[] {
    return this.output
      .split('\n')
      .filter((l) => l.startsWith('{'))
      .map((l) => JSON.parse(l) as Line);
  }

  /** Messages that changed the kernel. */
  get applied(): Line[] {
    return this.lines.filter((l) => l.msg === 'applied' || l.msg === 'repaired');
  }

  async ready(): Promise<void> {
    await until(
      () => `agent of ${this.name} ready: ${this.output}`,
      () => this.lines.some((l) => l.msg === 'ready'),
      20_000,
    );
  }

  /** Ends the process; answers its exit code. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const child = this.process;
    this.process = undefined;
    if (!child) return null;
    if (child.exitCode !== null) return child.exitCode;
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
    child.kill(signal);
    return ended;
  }

  /** Runs to its end; answers the exit code. */
  async toEnd(): Promise<number | null> {
    this.start();
    const child = this.process!;
    return new Promise((resolve) => child.once('close', resolve));
  }

  /** `culvert plan`: exit code and what it prints. */
  plan(): { status: number; stdout: string } {
    return this.host.try(`${join(binDir, 'culvert')} plan --config ${this.configFile}`);
  }

  /** This node's public key as `culvert keys` tells it; made when there is none. */
  get publicKey(): string {
    const shown = this.host.exec(`${join(binDir, 'culvert')} keys --json --config ${this.configFile}`);
    return (JSON.parse(shown) as { publicKey: string }).publicKey;
  }

  get(path: string): string {
    return this.host.exec(`curl -s http://127.0.0.1:9467${path}`);
  }
}

interface Node {
  host: Host;
  pod: string;
  agent: Agent;
}

export class Fabric {
  readonly router = new Host('ag-r');
  readonly nodes: Node[] = [];

  constructor() {
    this.router.exec('ip link add name sw type bridge');
    this.router.exec('ip link set dev sw up');
    for (const i of [1, 2, 3]) this.nodes.push(this.#node(i));
    for (const [dev, subnet] of [
      ['sw', 1],
      ['n3', 2],
    ] as const) {
      this.router.exec(`ip addr add 192.168.${subnet}.1/24 dev ${dev}`);
      this.router.exec(`ip addr add fd0${subnet}::1/64 dev ${dev} nodad`);
    }
    for (const key of ['net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding']) this.router.exec(`sysctl -qw ${key}=1`);
    // the router knows the podCIDRs, as one set up for `behindRouter: gateway` does; in tunnels nobody asks it
    for (const i of [1, 2, 3]) {
      const subnet = i === 3 ? 2 : 1;
      this.router.exec(`ip route add 10.244.${i}.0/24 via 192.168.${subnet}.1${i}`);
      this.router.exec(`ip route add fd00:244:${i}::/64 via fd0${subnet}::1${i}`);
    }
  }

  #node(i: number): Node {
    const host = new Host(`ag-n${i}`);
    const subnet = i === 3 ? 2 : 1;
    host.exec(`ip link add name eth0 type veth peer name n${i} netns ${this.router.name}`);
    host.exec(`ip addr add 192.168.${subnet}.1${i}/24 dev eth0`);
    host.exec(`ip addr add fd0${subnet}::1${i}/64 dev eth0 nodad`);
    host.exec('ip link set dev eth0 up');
    this.router.exec(`ip link set dev n${i} ${i === 3 ? '' : 'master sw '}up`);
    host.exec(`ip route add default via 192.168.${subnet}.1`);
    host.exec(`ip route add default via fd0${subnet}::1`);
    const pod = host.pod();
    host.exec(`ip link add name pod type veth peer name eth0 netns ${pod.split('/').at(-1)}`);
    host.exec('ip link set dev pod up');
    const inPod = (line: string) => run(['nsenter', `--net=${pod}`, '--', 'ip', ...line.split(' ')]);
    inPod('link set dev eth0 up');
    for (const [net, bits] of [
      [`10.244.${i}.`, 32],
      [`fd00:244:${i}::`, 128],
    ] as const) {
      const nodad = bits === 128 ? ' nodad' : '';
      host.exec(`ip addr add ${net}1/${bits} dev pod${nodad}`);
      host.exec(`ip route add ${net}5 dev pod`);
      inPod(`addr add ${net}5/${bits} dev eth0${nodad}`);
      inPod(`route add ${net}1 dev eth0`);
      inPod(`route add default via ${net}1`);
    }
    return { host, pod, agent: new Agent(host, `n${i}`) };
  }

  get clusterFile(): string {
    return join(this.router.dir, 'cluster.yaml');
  }

  /** Replaces the cluster file by rename, as editors do. */
  writeCluster(text: string): void {
    writeFileSync(`${this.clusterFile}.new`, text);
    renameSync(`${this.clusterFile}.new`, this.clusterFile);
  }

  /** The nodes of the cluster file; `more` adds to entries, and all have their keys where a mode needs them. */
  cluster(config: object, underlay: Stack, pods: Stack, more: (i: number) => object = () => ({})): object[] {
    const keyed = Object.values(config).includes('wireguard');
    return nodesOf(underlay, pods).map((node, i) => ({
      ...node,
      ...(keyed && { publicKey: this.nodes[i]!.agent.publicKey }),
      ...more(i + 1),
    }));
  }

  async start(config: object, underlay: Stack, pods: Stack, more?: (i: number) => object): Promise<void> {
    mkdirSync(this.router.dir, { recursive: true });
    for (const { agent } of this.nodes) agent.configure({ resyncSeconds: 2 * patience, ...config }, this.clusterFile);
    this.writeCluster(JSON.stringify({ nodes: this.cluster(config, underlay, pods, more) }));
    for (const { agent } of this.nodes) agent.start();
    await Promise.all(this.nodes.map((n) => n.agent.ready()));
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((n) => n.agent.stop()));
  }

  /** Pings from every pod to every other pod and to every node; answers what got no answer. */
  async unreachable(pods: Stack): Promise<string[]> {
    const targets = (i: number): string[] => [
      ...(pods === 'v6' ? [] : [`10.244.${i}.5`, `192.168.${i === 3 ? 2 : 1}.1${i}`]),
      ...(pods === 'v4' ? [] : [`fd00:244:${i}::5`, `fd0${i === 3 ? 2 : 1}::1${i}`]),
    ];
    const pairs = this.nodes.flatMap(({ pod }, from) =>
      [1, 2, 3]
        .filter((to) => to !== from + 1)
        .flatMap((to) => targets(to).map((address) => ({ from: from + 1, pod, address }))),
    );
    const lost = await Promise.all(
      pairs.map(async (p) => ((await ping(p.pod, p.address)) ? [] : [`p${p.from} → ${p.address}`])),
    );
    return lost.flat();
  }

  remove(): void {
    for (const { host } of this.nodes) host.remove();
    this.router.remove();
  }
}

/** One ping out of a namespace, three tries. */
function ping(netns: string, address: string): Promise<boolean> {
  const child = spawn('nsenter', [`--net=${netns}`, '--', 'ping', '-c', '1', '-w', '3', '-i', '0.3', address], {
    stdio: 'ignore',
  });
  return new Promise((resolve) => child.once('exit', (code) => resolve(code === 0)));
}

export const read = (...parts: string[]): string => readFileSync(join(...parts), 'utf8');

/** Pods of a lab's cluster: web servers that answer who they are and who asked, and questions to them from anywhere. */

import { until } from '../../support/agents.ts';
import { image } from '../../support/image.ts';
import { Host, run } from '../../support/netns.ts';
import { netnsOf, pidOf } from '../../support/processes.ts';
import type { KubeLab } from './lab.ts';

const scripts = {
  who: 'echo; hostname; echo $REMOTE_ADDR',
  /** For kubelet: who asked is in /tmp/probed. */
  probe: 'echo; echo $REMOTE_ADDR >/tmp/probed',
};

/** How many bytes `/big` of every web server has. */
export const bigBytes = 300_000;

const serve = (port: number): string =>
  [
    'mkdir -p /www/cgi-bin',
    `head -c ${bigBytes} /dev/zero >/www/big`,
    ...Object.entries(scripts).map(
      ([name, body]) => `printf '#!/bin/sh\\n${body}\\n' >/www/cgi-bin/${name}; chmod +x /www/cgi-bin/${name}`,
    ),
    `exec httpd -f -h /www -p ${port}`,
  ].join('; ');

/** A pod of one web server, with what else its container is to have. */
export const podSpec = (container: object = {}, port = 80): object => ({
  terminationGracePeriodSeconds: 0,
  automountServiceAccountToken: false,
  enableServiceLinks: false,
  containers: [{ name: 'web', image, command: ['sh', '-c', serve(port)], ...container }],
});

export interface Pod {
  metadata: { name: string; uid: string; deletionTimestamp?: string };
  spec: { nodeName: string; hostNetwork?: boolean };
  status: {
    phase: string;
    podIP?: string;
    podIPs?: { ip: string }[];
    hostIP?: string;
    containerStatuses?: { ready: boolean }[];
  };
}

interface NodeObject {
  status: { addresses: { type: string; address: string }[]; conditions: { type: string; status: string }[] };
}

/** Who asks. */
export interface Client {
  readonly name: string;
  /** Runs a line of a shell; answers its output. */
  sh(line: string): string;
}

/** Whose answer it was, and the address that the question came from. */
export interface Answer {
  readonly by: string;
  readonly seen: string;
}

const isReady = ({ metadata, status }: Pod): boolean =>
  !metadata.deletionTimestamp && status.phase === 'Running' && (status.containerStatuses ?? []).every((c) => c.ready);

/** Its IPv4 address, the first one. */
export const addressOf = (pod: Pod): string => pod.status.podIP!;
/** IPv4, IPv6. */
export const addressesOf = ({ status }: Pod): string[] => (status.podIPs ?? []).map(({ ip }) => ip);

/** A web server's REMOTE_ADDR, whose socket is one of both families: "[::ffff:10.244.0.5]" → "10.244.0.5". */
export const plainAddress = (remote: string): string => remote.replace(/^\[?(::ffff:)?|\]$/g, '');

/** "web-x7k2p [::ffff:10.244.1.5]" */
function parseAnswer(line: string): Answer {
  const [by = '', seen = ''] = line.trim().split(' ');
  return { by, seen: plainAddress(seen) };
}

/** A line for a shell that asks a web server so many times. */
export function questions(address: string, port: number, times: number): string {
  // not wget: a static busybox looks for the name of the port in libraries that are not there, and dies
  const question = `printf 'GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 5 ${address} ${port} 2>/dev/null`;
  return `for i in $(seq ${times}); do ${question} | tail -n 2 | tr '\\n' ' '; echo; done`;
}

/** What it prints; what is not answered is left out. */
export const parseAnswers = (lines: string): Answer[] =>
  lines
    .trim()
    .split('\n')
    .map(parseAnswer)
    .filter((a) => a.seen !== '');

/** Asks a web server so many times. */
export const ask = ({ sh }: Client, address: string, port = 80, times = 1): Answer[] =>
  parseAnswers(sh(questions(address, port, times)));

/** Fetches `/big`; answers how many milliseconds it took. Throws when it did not come whole. */
export function fetchBig({ name, sh }: Client, address: string): number {
  const started = Date.now();
  const count = sh(`printf 'GET /big HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 20 ${address} 80 | wc -c`);
  if (Number(count) < bigBytes) throw new Error(`${name} got ${count.trim()} of ${bigBytes} bytes from ${address}`);
  return Date.now() - started;
}

/** Asks until every one of these has answered. */
export async function askAll(client: Client, address: string, port: number, servers: readonly string[]) {
  const answers: Answer[] = [];
  await until(
    () =>
      `${client.name} asks ${address}:${port}: wants answers of ${servers}, got some of ${[...new Set(answers.map((a) => a.by))]}`,
    () => {
      answers.push(...ask(client, address, port, 6));
      return servers.every((s) => answers.some((a) => a.by === s));
    },
    60_000,
  );
  return answers;
}

/** Its network namespace, as this machine sees it: its processes are in cgroups of its own. */
export const netnsOfPod = ({ metadata: { uid } }: Pod): string => netnsOf(pidOf('cgroup', `/pod${uid}/`));

/** A pod's network asked through, by this machine's own programs: many times faster than `kubectl exec`, and nobody is asked for it. */
export const fromPod = (pod: Pod): Client => ({
  name: pod.metadata.name,
  sh: (line) => run(['nsenter', `--net=${netnsOfPod(pod)}`, '--', 'sh', '-c', line]),
});

/** The pods of the lab's cluster, and those who can ask them. */
export class Pods {
  readonly lab: KubeLab;
  readonly nodes: readonly string[];

  constructor(lab: KubeLab, nodes: readonly string[]) {
    this.lab = lab;
    this.nodes = nodes;
  }

  all(): Pod[] {
    return this.lab.get<{ items: Pod[] }>('pods').items;
  }

  of(node: string): Pod[] {
    return this.all().filter((p) => p.spec.nodeName === node);
  }

  /** So many nodes, and all of them Ready. */
  areNodesReady(count: number): boolean {
    const isNodeReady = (n: NodeObject): boolean =>
      n.status.conditions.some((c) => c.type === 'Ready' && c.status === 'True');
    return this.lab.get<{ items: NodeObject[] }>('nodes').items.filter(isNodeReady).length === count;
  }

  async nodesReady(count: number): Promise<void> {
    await until(
      () => `${count} nodes Ready:\n${this.lab.kubectl('describe nodes')}`,
      () => this.areNodesReady(count),
      60_000,
    );
  }

  /** So many pods, and none that is on its way to or fro. */
  areReady(count: number, found = this.all()): boolean {
    return found.length === count && found.every(isReady);
  }

  async ready(count: number): Promise<Pod[]> {
    let found: Pod[] = [];
    await until(
      () => `${count} pods ready:\n${this.lab.kubectl('get pods -o wide')}`,
      () => {
        found = this.all();
        return this.areReady(count, found);
      },
      90_000,
    );
    return found;
  }

  /** Creates a pod and waits for it. */
  async run(name: string, spec: object, metadata: object = {}): Promise<Pod> {
    this.lab.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name, ...metadata }, spec });
    const it = (): Pod => this.lab.get<Pod>(`pod ${name}`);
    await until(
      () => `pod ${name} ready:\n${this.lab.kubectl(`describe pod ${name}`)}`,
      () => isReady(it()),
      60_000,
    );
    return it();
  }

  delete(name: string): void {
    this.lab.kubectl(`delete pod ${name} --ignore-not-found --wait=true`);
  }

  /** By kubelet and the runtime: also what is in a pod's files. */
  inPod({ metadata: { name } }: Pod): Client {
    return { name, sh: (line) => this.lab.do('kubectl', 'exec', name, '--', 'sh', '-c', line) };
  }

  fromNode(name: string): Client {
    return { name, sh: (line) => this.lab.do('exec', name, 'sh', '-c', line) };
  }

  /** Addresses of a node itself, its own ends of pods' networks among them. */
  addressesOf(node: string): string[] {
    const shown = this.lab.on(node, 'ip -o address show').stdout;
    return [...shown.matchAll(/ inet6? ([0-9a-f.:]+)\//g)].map((m) => m[1]!);
  }

  /** What a node is reached at: IPv4, IPv6. */
  nodeAddresses(name: string): string[] {
    const { addresses } = this.lab.get<NodeObject>(`node ${name}`).status;
    return addresses.filter((a) => a.type === 'InternalIP').map((a) => a.address);
  }

  /** Addresses that are leased on a node, IPv4 and IPv6. */
  leasesOf(node: string): string[] {
    const shown = this.lab.on(node, '/opt/cni/bin/culvert ipam show --json').stdout;
    return [...shown.matchAll(/"address": "([^"]+)"/g)].map((m) => m[1]!).sort();
  }

  /** What is leased on a node is what its pods have. */
  async leasesFit(): Promise<void> {
    for (const node of this.nodes) {
      const leased = () => this.leasesOf(node);
      const used = () =>
        this.of(node)
          .filter((p) => !p.spec.hostNetwork)
          .flatMap(addressesOf)
          .sort();
      await until(
        () => `leases on ${node}: ${leased().join(' ')}; its pods: ${used().join(' ')}`,
        () => leased().join(' ') === used().join(' '),
        60_000,
      );
    }
  }
}

/** IPv4, IPv6. */
export const outsideAddresses: readonly string[] = ['192.168.77.100', 'fd77::100'];

/** A machine on the nodes' link that is no node. The caller removes it. */
export function machineOutside(lab: KubeLab): Host {
  const host = new Host('out');
  const [address4, address6] = outsideAddresses;
  lab.join(host.name, 'eth0', [`${address4}/24`, `${address6}/64`]);
  return host;
}

export const fromHost = ({ netns, name }: Host): Client => ({
  name,
  sh: (line) => run(['nsenter', `--net=${netns}`, '--', 'sh', '-c', line]),
});

/** Pods of real kubelets and containerds, on nodes that agents connect: what Kubernetes expects of a cluster's network. */

import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../support/agents.ts';
import { KubeLab } from './lab/lab.ts';
import { ask, askAll, type Client, type Pod, Pods, podSpec } from './lab/pods.ts';
import { describeKubelet } from './pods/kubelet.ts';
import { describeLife } from './pods/life.ts';
import { describeServices } from './pods/services.ts';

const lab = new KubeLab();
const nodes = [1, 2].map((i) => `${lab.name}${i}`);
const cluster = new Pods(lab, nodes);
/** The one that joins and leaves. */
const third = `${lab.name}3`;

const web = {
  apiVersion: 'apps/v1',
  kind: 'DaemonSet',
  metadata: { name: 'web' },
  spec: {
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: podSpec() },
  },
};
const staticPod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'by-file', namespace: 'default' },
  spec: podSpec(),
};

const nodesReady = async (count: number): Promise<void> => {
  const isNodeReady = (n: { status: { conditions: { type: string; status: string }[] } }): boolean =>
    n.status.conditions.some((c) => c.type === 'Ready' && c.status === 'True');
  await until(
    () => `${count} nodes Ready:\n${lab.kubectl('describe nodes')}`,
    () => lab.get<{ items: never[] }>('nodes').items.filter(isNodeReady).length === count,
    60_000,
  );
};

const leases = (node: string): string[] =>
  lab
    .on(node, 'ls /var/lib/cni/networks/culvert')
    .stdout.split('\n')
    .filter((name) => /^\d+\.\d+\.\d+\.\d+$/.test(name))
    .sort();
const askFrom = (client: Client, address: string): string | undefined => ask(client, address)[0]?.seen;

beforeAll(async () => {
  lab.up(nodes.length);
  lab.do('agents');
  await nodesReady(nodes.length);
  lab.apply(web);
  await cluster.ready(nodes.length);
});
afterAll(() => lab.down());

/** Every pod asks every other one, every node every pod, every pod a server on every node. */
function expectMatrix(all: readonly Pod[]): void {
  for (const to of all) {
    const address = to.status.podIP!;
    for (const from of all) {
      expect(askFrom(cluster.fromPod(from), address), `${from.metadata.name} to ${to.metadata.name}`).toBe(
        from.status.podIP,
      );
      expect(lab.kubectl(`exec ${from.metadata.name} -- ping -q -c 1 -W 5 ${address}`)).toContain('1 packets received');
    }
  }
}

describe('the Kubernetes network model', () => {
  it('a pod reaches every pod, itself among them, and is seen with its own address: no NAT', () => {
    expectMatrix(cluster.all());
  });

  it('a node reaches every pod and is seen with an address of its own, and pods reach nodes: no NAT', () => {
    for (const node of nodes) {
      const own = lab.on(node, 'ip -4 -o address show').stdout;
      for (const { status } of cluster.all()) {
        const seen = askFrom(cluster.fromNode(node), status.podIP!);
        expect(own).toContain(` ${seen}/`);
      }
    }
    for (const pod of cluster.all()) {
      for (const { status } of cluster.all()) {
        const ping = `exec ${pod.metadata.name} -- ping -q -c 1 -W 5 ${status.hostIP}`;
        expect(lab.kubectl(ping)).toContain('1 packets received');
      }
    }
  });

  it('a pod sees itself with the address that others see', () => {
    for (const pod of cluster.all()) {
      const shown = lab.kubectl(`exec ${pod.metadata.name} -- ip -4 -o addr show dev eth0`);
      expect(shown).toContain(` ${pod.status.podIP}/`);
    }
  });
});

describeServices(cluster);
describeKubelet(cluster);
describeLife(cluster);

describe('a cluster under culvert', () => {
  it('goes on without the API server: pods talk, come by file and go, agents start anew; all is right when it is back', async () => {
    const [first, second] = nodes as [string, string];
    const before = cluster.all();
    const gone = before.find((p) => p.spec.nodeName === first)!;
    const stays = before.find((p) => p.spec.nodeName === second)!;
    const known = leases(second);
    lab.do('stop', 'apiserver');

    writeFileSync(join(lab.dir, 'nodes', second, 'etc/kubernetes/manifests/by-file.json'), JSON.stringify(staticPod));
    const fresh = (): string | undefined => leases(second).find((ip) => !known.includes(ip));
    await until(
      'a pod by file',
      () => fresh() !== undefined && askFrom(cluster.fromNode(first), fresh()!) !== undefined,
      60_000,
    );
    // its container ends, and kubelet makes another in the same sandbox or in a new one
    lab.on(first, 'pkill -KILL -x httpd');
    for (const node of nodes) lab.do('agent', node);
    const ready = (node: string): string => lab.on(node, 'curl -s http://127.0.0.1:9467/readyz').stdout;
    for (const node of nodes)
      await until(
        () => ready(node),
        () => ready(node).includes('"ready":true'),
        30_000,
      );
    expect(ready(first)).toMatch(/the API server .* does not answer since/);
    expect(askFrom(cluster.fromNode(first), stays.status.podIP!)).toBeDefined();
    rmSync(join(lab.dir, 'nodes', second, 'etc/kubernetes/manifests/by-file.json'));
    await until('its address is free', () => fresh() === undefined, 60_000);

    await lab.startApiServer();
    lab.kubectl(`delete pod ${gone.metadata.name} --force --grace-period=0`);
    await nodesReady(nodes.length);
    expectMatrix(await cluster.ready(nodes.length));
    await cluster.leasesFit();
    for (const node of nodes)
      await until(
        () => ready(node),
        () => ready(node).includes('"problems":[]'),
        30_000,
      );
  });

  /** A further node with this address joins: its pod, which all others reach. */
  const joins = async (address: string): Promise<Pod> => {
    lab.do('add', '3', address);
    await until('the Node', () => lab.try(['kubectl', 'get', 'node', third]).status === 0, 60_000);
    lab.do('agents');
    await nodesReady(3);
    const all = await cluster.ready(3);
    const newcomer = all.find((p) => p.spec.nodeName === third)!;
    for (const pod of all) {
      const [answer] = await askAll(cluster.fromPod(pod), newcomer.status.podIP!, 80, [newcomer.metadata.name]);
      expect(answer!.seen).toBe(pod.status.podIP);
    }
    return newcomer;
  };

  /** It leaves for good: nothing leads there any more. */
  const leaves = async (pod: Pod): Promise<void> => {
    lab.do('remove', third);
    lab.kubectl(`delete node ${third}`);
    lab.kubectl(`delete pod ${pod.metadata.name} --force --grace-period=0`); // nobody else does for a minute
    for (const node of nodes) {
      const ways = () => lab.on(node, 'ip route show proto 67').stdout + lab.on(node, 'bridge fdb').stdout;
      const gone = [pod.status.podIP!.replace(/\.\d+$/, '.'), `dst ${pod.status.hostIP} `];
      await until(ways, () => !gone.some((text) => ways().includes(text)), 15_000);
    }
  };

  it('takes in a node that joins, lets it go, and takes it in under its name with another address and podCIDR', {
    timeout: 300_000,
  }, async () => {
    lab.try(['remove', third]); // of a try before
    const first = await joins('192.168.77.13');
    await leaves(first);
    const second = await joins('192.168.77.33');
    expect(second.status.podIP!.replace(/\.\d+$/, '')).not.toBe(first.status.podIP!.replace(/\.\d+$/, ''));
    await leaves(second);
  });
});

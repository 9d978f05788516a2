/** Pods of real kubelets and containerds, on nodes that agents connect: what Kubernetes expects of a cluster's network. */

import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../support/agents.ts';
import { image } from '../support/image.ts';
import { KubeLab } from './lab/lab.ts';

const lab = new KubeLab();
const nodes = ['cklt1', 'cklt2'];

/** Answers with the address that the question came from. */
const serve =
  'mkdir -p /www/cgi-bin; printf "#!/bin/sh\\necho; echo \\$REMOTE_ADDR\\n" >/www/cgi-bin/who; chmod +x /www/cgi-bin/who; exec httpd -f -h /www';
const podSpec = {
  terminationGracePeriodSeconds: 0,
  automountServiceAccountToken: false,
  enableServiceLinks: false,
  containers: [{ name: 'web', image, command: ['sh', '-c', serve] }],
};
const web = {
  apiVersion: 'apps/v1',
  kind: 'DaemonSet',
  metadata: { name: 'web' },
  spec: {
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: podSpec },
  },
};
const staticPod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'by-file', namespace: 'default' },
  spec: podSpec,
};

interface Pod {
  metadata: { name: string; deletionTimestamp?: string };
  spec: { nodeName: string };
  status: { phase: string; podIP?: string; hostIP?: string; containerStatuses?: { ready: boolean }[] };
}

const pods = (): Pod[] => lab.get<{ items: Pod[] }>('pods').items;
const isReady = ({ metadata, status }: Pod): boolean =>
  !metadata.deletionTimestamp && status.phase === 'Running' && (status.containerStatuses ?? []).every((c) => c.ready);

/** So many pods, and none that is on its way to or fro. */
const podsReady = async (count: number): Promise<Pod[]> => {
  await until(
    () => `${count} pods ready:\n${lab.kubectl('get pods -o wide')}`,
    () => pods().length === count && pods().every(isReady),
    90_000,
  );
  return pods();
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

/** What a web server says of who asks: the last line of its answer; its socket is one of both families. */
const whoAsks = (answer: string): string =>
  answer
    .trim()
    .split('\n')
    .at(-1)!
    .replace(/^\[?(::ffff:)?|\]$/g, '');
/** Without busybox's wget: a static one looks for the name of the port in libraries that are not there, and dies. */
const askFromPod = ({ metadata }: Pod, address: string): string => {
  const line = `printf 'GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n' | nc -w 5 ${address} 80`;
  return whoAsks(lab.do('kubectl', 'exec', metadata.name, '--', 'sh', '-c', line));
};
const askFromNode = (node: string, address: string): string =>
  whoAsks(lab.on(node, `curl -s -m 5 http://${address}/cgi-bin/who`).stdout);

const leases = (node: string): string[] =>
  lab
    .on(node, 'ls /var/lib/cni/networks/culvert')
    .stdout.split('\n')
    .filter((name) => /^\d+\.\d+\.\d+\.\d+$/.test(name))
    .sort();
/** What is leased on a node is what its pods have. */
const leasesFit = async (): Promise<void> => {
  for (const node of nodes) {
    const used = () =>
      pods()
        .filter((p) => p.spec.nodeName === node)
        .map((p) => p.status.podIP!)
        .sort();
    await until(
      () => `leases on ${node}: ${leases(node).join(' ')}; its pods: ${used().join(' ')}`,
      () => leases(node).join(' ') === used().join(' '),
      60_000,
    );
  }
};

beforeAll(async () => {
  lab.up(nodes.length);
  lab.do('agents');
  await nodesReady(nodes.length);
  lab.apply(web);
  await podsReady(nodes.length);
});
afterAll(() => lab.down());

/** Every pod asks every other one, every node every pod, every pod a server on every node. */
function expectMatrix(all: readonly Pod[]): void {
  for (const to of all) {
    const address = to.status.podIP!;
    for (const from of all) {
      expect(askFromPod(from, address), `${from.metadata.name} to ${to.metadata.name}`).toBe(from.status.podIP);
      expect(lab.kubectl(`exec ${from.metadata.name} -- ping -q -c 1 -W 5 ${address}`)).toContain('1 packets received');
    }
  }
}

describe('the Kubernetes network model', () => {
  it('a pod reaches every pod, itself among them, and is seen with its own address: no NAT', () => {
    expectMatrix(pods());
  });

  it('a node reaches every pod and is seen with an address of its own, and pods reach nodes: no NAT', () => {
    for (const node of nodes) {
      const own = lab.on(node, 'ip -4 -o address show').stdout;
      for (const { status } of pods()) {
        const seen = askFromNode(node, status.podIP!);
        expect(own).toContain(` ${seen}/`);
      }
    }
    for (const pod of pods()) {
      for (const { status } of pods()) {
        const ping = `exec ${pod.metadata.name} -- ping -q -c 1 -W 5 ${status.hostIP}`;
        expect(lab.kubectl(ping)).toContain('1 packets received');
      }
    }
  });

  it('a pod sees itself with the address that others see', () => {
    for (const pod of pods()) {
      const shown = lab.kubectl(`exec ${pod.metadata.name} -- ip -4 -o addr show dev eth0`);
      expect(shown).toContain(` ${pod.status.podIP}/`);
    }
  });
});

describe('a cluster under culvert', () => {
  it('goes on without the API server: pods talk, come by file and go, agents start anew; all is right when it is back', async () => {
    const [first, second] = nodes as [string, string];
    const before = pods();
    const gone = before.find((p) => p.spec.nodeName === first)!;
    const stays = before.find((p) => p.spec.nodeName === second)!;
    const known = leases(second);
    lab.do('stop', 'apiserver');

    writeFileSync(join(lab.dir, 'nodes', second, 'etc/kubernetes/manifests/by-file.json'), JSON.stringify(staticPod));
    const fresh = (): string | undefined => leases(second).find((ip) => !known.includes(ip));
    await until('a pod by file', () => fresh() !== undefined && askFromNode(first, fresh()!) !== '', 60_000);
    // its container ends, and kubelet makes another in the same sandbox or in a new one
    lab.on(first, 'pkill -KILL -x httpd');
    for (const node of nodes) {
      lab.on(node, 'pkill -TERM -x culvert');
      await until('the agent ends', () => lab.on(node, 'pgrep -x culvert').status !== 0);
      lab.do('agent', node);
    }
    const ready = (node: string): string => lab.on(node, 'curl -s http://127.0.0.1:9467/readyz').stdout;
    for (const node of nodes)
      await until(
        () => ready(node),
        () => ready(node).includes('"ready":true'),
        30_000,
      );
    expect(ready(first)).toMatch(/the API server .* does not answer since/);
    expect(askFromNode(first, stays.status.podIP!)).not.toBe('');
    rmSync(join(lab.dir, 'nodes', second, 'etc/kubernetes/manifests/by-file.json'));
    await until('its address is free', () => fresh() === undefined, 60_000);

    lab.do('start', 'apiserver');
    await until('the API server answers', () => lab.try(['kubectl', 'get', '--raw', '/readyz']).status === 0, 60_000);
    lab.kubectl(`delete pod ${gone.metadata.name} --force --grace-period=0`);
    await nodesReady(nodes.length);
    expectMatrix(await podsReady(nodes.length));
    await leasesFit();
    for (const node of nodes)
      await until(
        () => ready(node),
        () => ready(node).includes('"problems":[]'),
        30_000,
      );
  });

  it('takes in a node that joins, and lets one go', async () => {
    lab.do('add', '3');
    await until('the Node', () => lab.try(['kubectl', 'get', 'node', 'cklt3']).status === 0, 60_000);
    lab.do('agents');
    await nodesReady(3);
    const all = await podsReady(3);
    const newcomer = all.find((p) => p.spec.nodeName === 'cklt3')!;
    for (const pod of all) expect(askFromPod(pod, newcomer.status.podIP!)).toBe(pod.status.podIP);

    lab.do('remove', 'cklt3');
    lab.kubectl('delete node cklt3');
    for (const node of nodes) {
      const routes = () => lab.on(node, 'ip route show proto 67').stdout;
      await until(routes, () => !routes().includes(newcomer.status.podIP!.replace(/\.\d+$/, '.')), 15_000);
    }
  });
});

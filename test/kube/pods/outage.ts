/** The API server away for a while: pods talk, come by file and go, agents start anew; and soon after it is back all is right. */

import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type Pinging, pinging } from '../../../src/lab/pinging.ts';
import { until } from '../../support/agents.ts';
import { pidOf } from '../../support/processes.ts';
import { addressesOf, ask, fromPod, netnsOfPod, type Pod, type Pods, podSpec } from '../lab/pods.ts';
import { expectMatrix } from './model.ts';

/** So long at least: 300 is what somebody waits for who wants to know. */
const outageSeconds = Number(process.env['KUBE_OUTAGE_SECONDS'] ?? 20);

/** The first process of its container. */
const pidOfContainer = (name: string): number => pidOf('environ', `HOSTNAME=${name}\0`);

/** A pod of a manifest on a node's disk. */
class StaticPod {
  readonly name: string;
  readonly node: string;
  readonly #pods: Pods;
  readonly #file: string;
  readonly #before: readonly string[];

  constructor(pods: Pods, node: string, name: string) {
    this.#pods = pods;
    this.node = node;
    this.name = name;
    this.#before = pods.leasesOf(node);
    this.#file = join(pods.lab.dir, 'nodes', node, 'etc/kubernetes/manifests', `${name}.json`);
    const object = { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'default' }, spec: podSpec() };
    writeFileSync(this.#file, JSON.stringify(object));
    onTestFinished(() => rmSync(this.#file, { force: true })); // where a test fails
  }

  /** What kubelet calls it. */
  get podName(): string {
    return `${this.name}-${this.node}`;
  }

  /** What has been leased since; no other pods come meanwhile. */
  get addresses(): string[] {
    return this.#pods.leasesOf(this.node).filter((address) => !this.#before.includes(address));
  }

  /** Waits until it answers a pod by both families, and sees that pod's own addresses. */
  async answers(pod: Pod): Promise<void> {
    const seen = (): (string | undefined)[] => this.addresses.map((address) => ask(fromPod(pod), address)[0]?.seen);
    const own = addressesOf(pod).sort().join();
    await until(
      () => `${this.name} on ${this.node} at ${this.addresses} answers ${pod.metadata.name}`,
      () => seen().sort().join() === own,
      90_000,
    );
  }

  async remove(): Promise<void> {
    rmSync(this.#file);
    await until(`the addresses of ${this.name} are free`, () => this.addresses.length === 0, 90_000);
  }
}

/** Pings from the first pods to the second ones and back, by both families, until the test is over. */
function pingAll(one: Pod, other: Pod): Pinging[] {
  const ways = [
    [one, other],
    [other, one],
  ] as const;
  const flows = ways.flatMap(([from, to]) => addressesOf(to).map((address) => pinging(netnsOfPod(from), address, 50)));
  onTestFinished(async () => void (await Promise.all(flows.map((flow) => flow.stop()))));
  return flows;
}

export function describeOutage(pods: Pods): void {
  const { lab, nodes } = pods;
  const [first, second] = nodes as [string, string];
  const readyz = (node: string): string => lab.on(node, 'curl -s http://127.0.0.1:9467/readyz').stdout;
  const says = (node: string, text: string): Promise<void> =>
    until(
      () => `the agent of ${node} says ${text}: ${readyz(node)}`,
      () => readyz(node).includes('"ready":true') && readyz(node).includes(text),
      60_000,
    );

  /** A Node that only stands there: no kubelet, and no pod goes to it. */
  const addNode = (name: string): void =>
    lab.apply({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name, annotations: { 'culvert/addresses': '192.168.77.99, fd77::99' } },
      spec: {
        podCIDR: '10.244.99.0/24',
        podCIDRs: ['10.244.99.0/24', 'fd00:244:0:99::/64'],
        taints: [{ key: 'nobody', effect: 'NoSchedule' }],
      },
    });
  /** How many routes lead there, one of each family on every node. */
  const waysThere = (): number =>
    nodes.flatMap((node) =>
      pods
        .fromNode(node)
        .sh('ip -o route show proto 67; ip -6 -o route show proto 67')
        .split('\n')
        .filter((line) => /^(10\.244\.99\.0|fd00:244:0:99::)\//.test(line)),
    ).length;

  /** The API server is back: from its first word until every agent is content and knows a Node that has come since. */
  const comesBack = async (): Promise<number> => {
    await lab.startApiServer();
    const started = performance.now();
    addNode('late');
    await until('the late Node is known everywhere', () => waysThere() === 2 * nodes.length, 60_000);
    for (const node of nodes) await says(node, '"problems":[]');
    return performance.now() - started;
  };

  describe('the API server away', () => {
    it(`for ${outageSeconds} s (KUBE_OUTAGE_SECONDS): pods talk, come by file and go, agents start anew; all is right when it is back`, {
      timeout: 300_000 + outageSeconds * 1000,
    }, async ({ annotate }) => {
      const of = (node: string): Pod => pods.of(node)[0]!;
      const [one, other] = [of(first), of(second)];
      const flows = pingAll(one, other);
      lab.do('stop', 'apiserver');
      onTestFinished(async () => {
        await lab.startApiServer();
        lab.kubectl('delete node late --ignore-not-found');
      });
      const end = performance.now() + outageSeconds * 1000;

      const stays = new StaticPod(pods, first, 'stays');
      await stays.answers(other);
      process.kill(pidOfContainer(stays.podName), 'SIGKILL'); // kubelet makes another container in the same sandbox
      let rounds = 0;
      do {
        const goes = new StaticPod(pods, second, `goes-${rounds}`);
        await goes.answers(one);
        lab.do('agent', nodes[rounds % 2]!);
        await says(nodes[rounds % 2]!, 'does not answer since');
        await goes.answers(one);
        await goes.remove();
        rounds++;
      } while (performance.now() < end || rounds < 2);
      await stays.answers(other);
      const kept = stays.addresses;

      const tookMs = await comesBack();
      await annotate(`${rounds} rounds; converged ${(tookMs / 1000).toFixed(1)} s after the API server was back`);
      for (const flow of flows) {
        await flow.answers(5);
        expect(await flow.stop()).toMatchObject({ lost: 0 });
      }
      lab.kubectl('delete node late');
      await until('the late Node is forgotten everywhere', () => waysThere() === 0, 60_000);

      await pods.nodesReady(nodes.length);
      const all = await pods.ready(nodes.length + 1);
      expect(addressesOf(all.find((p) => p.metadata.name === stays.podName)!).sort()).toEqual(kept);
      await stays.remove();
      // its object stands there until kubelet has told
      await until(`${stays.podName} is forgotten`, () => !pods.all().some((p) => p.metadata.name === stays.podName));
      lab.kubectl(`delete pod ${one.metadata.name} --force --grace-period=0`);
      expectMatrix(await pods.ready(nodes.length));
      await pods.leasesFit();
    });
  });
}

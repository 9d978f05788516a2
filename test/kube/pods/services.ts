/** Services beside kube-proxy: who answers, and which address a pod sees that is asked by way of one. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../../support/agents.ts';
import type { Host } from '../../support/netns.ts';
import {
  type Answer,
  addressesOf,
  ask,
  askAll,
  type Client,
  fromHost,
  fromPod,
  machineOutside,
  outsideAddresses,
  type Pod,
  type Pods,
  podSpec,
} from '../lab/pods.ts';
import { service, serviceObject } from '../lab/services.ts';

const shared = service('shared', 80);
const local = service('local', 81);
const sticky = service('sticky', 82);
const single = service('single', 83);

const ofWeb = { selector: { app: 'web' } };
const objects = [
  serviceObject(shared, ofWeb),
  serviceObject(local, { ...ofWeb, externalTrafficPolicy: 'Local' }),
  serviceObject(sticky, { ...ofWeb, sessionAffinity: 'ClientIP' }),
  serviceObject(single, { selector: { app: 'single' } }),
];

const names = (of: readonly Pod[]): string[] => of.map((p) => p.metadata.name);

/** The node itself asked, or somebody by way of it: a pod sees an address of the node. */
function expectOfNode(pods: Pods, node: string, { by, seen }: Answer): void {
  expect(pods.addressesOf(node), `${by} asked by way of ${node}`).toContain(seen);
}

/** A pod asked: its own address of the family is seen, or, where it asked itself, its node's. */
function expectOfPod(pods: Pods, from: Pod, family: number, answer: Answer): void {
  if (answer.by === from.metadata.name) expectOfNode(pods, from.spec.nodeName, answer);
  else expect(answer.seen, `${answer.by} asked by ${from.metadata.name}`).toBe(addressesOf(from)[family]);
}

/** Every pod and every node asks the Service by its addresses. */
async function expectClusterIp(pods: Pods, web: Pod[]): Promise<void> {
  for (const [family, address] of shared.clusterIPs.entries()) {
    for (const pod of web) {
      const answers = await askAll(fromPod(pod), address, 80, names(web));
      for (const answer of answers) expectOfPod(pods, pod, family, answer);
    }
    for (const node of pods.nodes) {
      const answers = await askAll(pods.fromNode(node), address, 80, names(web));
      for (const answer of answers) expectOfNode(pods, node, answer);
    }
  }
}

/** By each node's port: from outside, from every node and from a pod. */
async function expectNodePort(pods: Pods, web: Pod[], outside: Client): Promise<void> {
  const clients = [outside, ...pods.nodes.map((n) => pods.fromNode(n)), fromPod(web[0]!)];
  for (const node of pods.nodes) {
    for (const address of pods.nodeAddresses(node)) {
      for (const client of clients) {
        const answers = await askAll(client, address, shared.nodePort, names(web));
        for (const answer of answers) expectOfNode(pods, node, answer);
      }
    }
  }
}

async function expectLocal(pods: Pods, web: Pod[], outside: Client): Promise<void> {
  for (const { metadata, spec } of web) {
    for (const [family, address] of pods.nodeAddresses(spec.nodeName).entries()) {
      const answers = await askAll(outside, address, local.nodePort, [metadata.name]);
      for (const answer of answers) expect(answer).toEqual({ by: metadata.name, seen: outsideAddresses[family] });
    }
  }
}

/** A Service with one pod, which asks itself and is asked by a pod of the same node, by its host port too if it has one. */
async function expectNeighbours(pods: Pods, neighbour: Pod, hostPort?: number): Promise<void> {
  const { nodeName } = neighbour.spec;
  const spec = podSpec(hostPort ? { ports: [{ containerPort: 80, hostPort }] } : {});
  const pod = await pods.run('single', { ...spec, nodeName }, { labels: { app: 'single' } });
  try {
    for (const [family, address] of single.clusterIPs.entries()) {
      const [hairpin] = await askAll(fromPod(pod), address, 80, ['single']);
      expect(pods.addressesOf(nodeName)).toContain(hairpin!.seen);
      const own = { by: 'single', seen: addressesOf(neighbour)[family]! };
      expect(ask(fromPod(neighbour), address)).toEqual([own]);
      const onNode = pods.nodeAddresses(nodeName)[family]!;
      if (hostPort) expect(ask(fromPod(neighbour), onNode, hostPort)).toEqual([own]);
    }
  } finally {
    pods.delete('single');
  }
}

/** Has a node attach pods in this way, and gives it new ones. */
async function attachBy(pods: Pods, node: string, way: 'ptp' | 'bridge'): Promise<Pod[]> {
  pods.lab.on(node, `sed -i -e /^attach:/d -e $aattach:\\x20${way} /etc/culvert/agent.yaml`);
  pods.lab.do('agent', node);
  const file = () => pods.lab.on(node, 'cat /run/culvert/node.json').stdout;
  await until(file, () => file().includes(`"attach": "${way}"`), 30_000);
  const old = pods.of(node).map((p) => p.metadata.name);
  pods.lab.kubectl(`delete pod ${old.join(' ')} --force --grace-period=0`);
  return pods.ready(pods.nodes.length);
}

export function describeServices(pods: Pods): void {
  describe('Services beside kube-proxy', () => {
    const { lab } = pods;
    let outside: Host;
    let web: Pod[];

    beforeAll(async () => {
      outside = machineOutside(lab);
      lab.do('proxies');
      for (const each of objects) lab.apply(each);
      web = await pods.ready(pods.nodes.length);
    });
    afterAll(() => {
      for (const { name } of [shared, local, sticky, single]) lab.try(['kubectl', 'delete', 'service', name]);
      outside?.remove();
    });

    it('ClusterIP: a pod sees the pod that asks, and a node’s address of nodes and of itself', async () => {
      await expectClusterIp(pods, web);
    });

    it('NodePort: from outside, nodes and pods by every node; a pod sees the node that was asked', async () => {
      await expectNodePort(pods, web, fromHost(outside));
    });

    it('NodePort, externalTrafficPolicy Local: pods of the node that was asked answer, and see the client', async () => {
      await expectLocal(pods, web, fromHost(outside));
    });

    it('session affinity: one client, one pod', () => {
      const inside = [...web.map((p) => fromPod(p)), pods.fromNode(pods.nodes[0]!)];
      for (const [family, byPort] of pods.nodeAddresses(web[0]!.spec.nodeName).entries()) {
        for (const [client, address, port] of [
          [fromHost(outside), byPort, sticky.nodePort] as const,
          ...inside.flatMap((c) => [
            [c, sticky.clusterIPs[family]!, 80] as const,
            [c, byPort, sticky.nodePort] as const,
          ]),
        ]) {
          const answers = ask(client, address, port, 8);
          expect(answers).toHaveLength(8);
          expect(new Set(answers.map((a) => a.by)).size, `${client.name} asks ${address}`).toBe(1);
        }
      }
    });

    it('a pod reaches itself by its Service, and its neighbours keep their addresses, host port or not', async () => {
      await expectNeighbours(pods, web[0]!, 8080);
    });

    it('the same of pods on a bridge', async () => {
      const [node] = pods.nodes as [string];
      web = await attachBy(pods, node, 'bridge');
      try {
        await expectClusterIp(pods, web);
        await expectLocal(pods, web, fromHost(outside));
        const neighbour = web.find((p) => p.spec.nodeName === node)!;
        await expectNeighbours(pods, neighbour);
      } finally {
        web = await attachBy(pods, node, 'ptp');
      }
    });
  });
}

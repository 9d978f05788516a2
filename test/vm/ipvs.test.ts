/**
 * kube-proxy in mode ipvs beside the agent, on Debian's kernel: who answers, and which address a pod sees. The API server and its etcd
 * are on the segment (scripts/kube-lab); there is no kubelet: pods are attached by hand, Services' endpoints are written here.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { families } from '../../src/net/address.ts';
import { KubeLab } from '../kube/lab/lab.ts';
import { type Answer, fromHost, machineOutside, outsideAddresses, parseAnswers, questions } from '../kube/lab/pods.ts';
import { type Service, service, serviceObject } from '../kube/lab/services.ts';
import { patience } from '../support/agents.ts';
import type { Host } from '../support/netns.ts';
import { giveKubeconfig, nodeAddresses, upBeside } from './lab/beside.ts';
import { kubernetesDrive } from './lab/drives.ts';
import type { VmLab } from './lab/lab.ts';
import type { LabNode, Pod } from './lab/node.ts';

const clusterCidr = '10.244.0.0/16,fd00:10:244::/48';

const shared = service('shared', 80);
const local = service('local', 81);
const sticky = service('sticky', 82);

interface Client {
  readonly name: string;
  sh(line: string): Promise<string> | string;
}

const kube = new KubeLab();
let lab: VmLab;
let outside: Host;
let node1: LabNode;
let node2: LabNode;
/** Who answers for a Service: one of each node. */
let web: Pod[];
/** On node1, and answers for none. */
let neighbour: Pod;

const address = (pod: Pod, i: number): string => pod.addresses[families[i]!]!;

const fromNode = ({ name, vm }: LabNode): Client => ({ name, sh: (line) => vm.exec(line) });
const fromPod = (node: LabNode, { name }: Pod): Client => ({
  name,
  sh: (line) => node.vm.exec(`ip netns exec ${name} sh <<'END'\n${line}\nEND`),
});

/** Addresses of a node itself; those of Services, which ipvs makes local ones, are not. */
async function ownAddresses(node: LabNode): Promise<string[]> {
  const shown = await node.vm.exec('ip -o address show | grep -v kube-ipvs0');
  return [...shown.matchAll(/ inet6? ([0-9a-f.:]+)\//g)].map((m) => m[1]!);
}

const ask = async ({ sh }: Client, to: string, port: number, times: number): Promise<Answer[]> =>
  parseAnswers(await sh(questions(to, port, times)));

/** Asks until every one of these has answered. */
async function askAll(client: Client, to: string, port: number, servers: readonly Pod[]): Promise<Answer[]> {
  const answers: Answer[] = [];
  const end = Date.now() + 60_000 * patience;
  while (!servers.every(({ name }) => answers.some((a) => a.by === name))) {
    if (Date.now() > end) throw new Error(`${client.name} asks [${to}]:${port}: got ${JSON.stringify(answers)}`);
    answers.push(...(await ask(client, to, port, servers.length)));
    if (answers.length === 0) await sleep(200);
  }
  return answers;
}

async function addServer(node: LabNode, name: string): Promise<Pod> {
  const pod = await node.addPod(name);
  const www = `/tmp/www/${name}`;
  await node.vm.exec(`set -e; mkdir -p ${www}/cgi-bin
    printf '#!/bin/sh\\necho; echo ${name}; echo $REMOTE_ADDR\\n' >${www}/cgi-bin/who
    chmod +x ${www}/cgi-bin/who
    ip netns exec ${name} busybox httpd -h ${www} -p 80`);
  return pod;
}

/** What the controller manager writes for a Service with a selector. */
const slices = ({ name }: Service, pods: readonly Pod[]): object[] =>
  families.map((family, i) => ({
    apiVersion: 'discovery.k8s.io/v1beta1',
    kind: 'EndpointSlice',
    metadata: { name: `${name}-${family}`, labels: { 'kubernetes.io/service-name': name } },
    addressType: `IPv${family}`,
    endpoints: pods.map((pod) => ({
      addresses: [address(pod, i)],
      conditions: { ready: true },
      topology: { 'kubernetes.io/hostname': pod === web[0] ? node1.name : node2.name },
    })),
    ports: [{ name: '', protocol: 'TCP', port: 80 }],
  }));

function writeObjects(): void {
  for (const node of lab.nodes) {
    const addresses = nodeAddresses(node).map((a) => ({ type: 'InternalIP', address: a }));
    kube.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: node.name }, status: { addresses } });
  }
  const objects = [
    serviceObject(shared),
    serviceObject(local, { externalTrafficPolicy: 'Local' }),
    serviceObject(sticky, { sessionAffinity: 'ClientIP' }),
    ...[shared, local, sticky].flatMap((s) => slices(s, web)),
  ];
  for (const object of objects) kube.apply(object);
}

async function startProxy(node: LabNode): Promise<void> {
  const { name, vm } = node;
  await giveKubeconfig(kube, node, '/run/kubeconfig');
  await vm.exec(`setsid /kubernetes/kube-proxy --hostname-override=${name} --kubeconfig=/run/kubeconfig --proxy-mode=ipvs \\
      --cluster-cidr=${clusterCidr} --feature-gates=IPv6DualStack=true </dev/null >/var/log/kube-proxy.log 2>&1 &`);
  // the rules that masquerade come last, after all addresses of a family
  const { exitCode } = await vm.run(`for program in iptables-save ip6tables-save; do
    for i in $(seq 150); do
      $program -t nat | grep -q match-set && continue 2
      sleep 1
    done
    exit 1
  done`);
  if (exitCode !== 0)
    throw new Error(`kube-proxy of ${name}: no rules: ${await vm.exec('cat /var/log/kube-proxy.log')}`);
}

beforeAll(async () => {
  const kubernetes = await kubernetesDrive(['kube-proxy']);
  lab = await upBeside(kube, { drives: { kubernetes }, memoryMebibytes: 512 });
  outside = machineOutside(kube);
  [node1, node2] = lab.nodes as [LabNode, LabNode];
  await lab.configure({ agent: { mode: 'vxlan' } });
  web = await Promise.all(lab.nodes.map((node) => addServer(node, `web-${node.name}`)));
  neighbour = await addServer(node1, 'neighbour');
  writeObjects();
  await Promise.all(lab.nodes.map(startProxy));
});

afterAll(async () => {
  outside?.remove();
  await lab?.down();
  kube.down();
});

describe('Services beside kube-proxy in mode ipvs', () => {
  it('are served by ipvs: their addresses are local ones of every node', async () => {
    for (const { vm } of lab.nodes) {
      const shown = await vm.exec('ip -o address show dev kube-ipvs0; cat /proc/net/ip_vs');
      for (const ip of shared.clusterIPs) expect(shown).toContain(` ${ip}/`);
      expect(shown).toMatch(/^TCP +0A600050:0050 rr/m);
    }
  });

  it('ClusterIP: a pod sees the pod that asks, and a node’s address of nodes and of itself', async () => {
    const clients = [
      [node1, web[0]!],
      [node1, neighbour],
      [node2, web[1]!],
    ] as const;
    for (const [i, ip] of shared.clusterIPs.entries()) {
      for (const [node, pod] of clients) {
        const own = await ownAddresses(node);
        for (const { by, seen } of await askAll(fromPod(node, pod), ip, 80, web)) {
          const expected = by === pod.name ? own : [address(pod, i)];
          expect(expected, `${by} asked by ${pod.name}`).toContain(seen);
        }
      }
      for (const node of lab.nodes) {
        const own = await ownAddresses(node);
        for (const { by, seen } of await askAll(fromNode(node), ip, 80, web))
          expect(own, `${by} asked by ${node.name}`).toContain(seen);
      }
    }
  });

  it('NodePort: from outside, nodes and pods by every node; a pod sees the node that was asked', async () => {
    const clients = [fromHost(outside), fromNode(node1), fromPod(node1, web[0]!)];
    for (const node of lab.nodes) {
      const own = await ownAddresses(node);
      for (const to of nodeAddresses(node)) {
        for (const client of clients) {
          for (const { by, seen } of await askAll(client, to, shared.nodePort, web))
            expect(own, `${by} asked by ${client.name} by way of ${node.name}`).toContain(seen);
        }
      }
    }
  });

  it('NodePort, externalTrafficPolicy Local: pods of the node that was asked answer, and see the client', async () => {
    for (const [n, node] of lab.nodes.entries()) {
      for (const [i, to] of nodeAddresses(node).entries()) {
        const answers = await askAll(fromHost(outside), to, local.nodePort, [web[n]!]);
        for (const answer of answers) expect(answer).toEqual({ by: web[n]!.name, seen: outsideAddresses[i] });
      }
    }
  });

  it('session affinity: one client, one pod', async () => {
    for (const [i, ip] of sticky.clusterIPs.entries()) {
      for (const [client, to, port] of [
        [fromHost(outside), nodeAddresses(node1)[i]!, sticky.nodePort],
        [fromPod(node1, neighbour), ip, 80],
        [fromNode(node2), ip, 80],
      ] as const) {
        const answers = await ask(client, to, port, 4);
        expect(answers).toHaveLength(4);
        expect(new Set(answers.map((a) => a.by)).size, `${client.name} asks ${to}`).toBe(1);
      }
    }
  });
});

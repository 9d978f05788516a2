/** The manifests and the image on real kubelets: from nothing to a network, a new DaemonSet under traffic, and off the nodes again. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { until } from '../support/agents.ts';
import { manifestFile, type podSpec } from '../support/manifests.ts';
import { run } from '../support/netns.ts';
import { KubeLab } from './lab/lab.ts';

const root = join(import.meta.dirname, '../..');
const lab = new KubeLab();
const nodes = [1, 2].map((i) => `${lab.name}${i}`);

beforeAll(() => {
  run([join(root, 'scripts/image')]);
  lab.up(nodes.length);
  for (const node of nodes) lab.on(node, `ctr -n k8s.io images import ${join(root, 'dist/culvert-image.tar')}`);
}, 400_000);
afterAll(() => lab.down());

/** As they are; only nobody serves the API server's ClusterIP in this lab. */
function objects(): object[] {
  const server = [
    { name: 'KUBERNETES_SERVICE_HOST', value: '192.168.77.1' },
    { name: 'KUBERNETES_SERVICE_PORT', value: '6443' },
  ];
  return parseAllDocuments(readFileSync(manifestFile, 'utf8')).map((document) => {
    const object = document.toJS() as { kind: string; spec: { template: { spec: ReturnType<typeof podSpec> } } };
    if (object.kind === 'DaemonSet') object.spec.template.spec.containers[0]!.env.push(...server);
    return object;
  });
}

const readyNodes = (): number =>
  lab
    .kubectl('get nodes --no-headers')
    .split('\n')
    .filter((line) => / Ready /.test(line)).length;

function runPod(name: string, nodeName: string): void {
  const container = { name: 'c', image: 'local.test/box:1', imagePullPolicy: 'Never', command: ['sleep', '1d'] };
  const spec = { nodeName, terminationGracePeriodSeconds: 0, containers: [container] };
  lab.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec });
}

/** What an uninstall has to leave as it was; kubelet's rules count packets. */
const shown = (node: string): string[] =>
  ['ip -d link', 'ip route show table all', 'ip rule', 'nft list ruleset', 'sysctl -a -r ^net.ipv[46]'].flatMap(
    (line) =>
      lab
        .on(node, line)
        .stdout.replaceAll(/counter packets \d+ bytes \d+/g, 'counter')
        .split('\n'),
  );

/** Kubelet has laid its own rules. */
const isSettled = (node: string): boolean => lab.on(node, 'nft list ruleset').stdout.includes('KUBE-FIREWALL');

/** What kubectl makes of our plugin. */
const culvert = (...args: string[]): { status: number; lines: string[] } => {
  const { status, stdout, stderr } = lab.try(['kubectl', 'culvert', ...args]);
  return { status, lines: (stdout + stderr).trimEnd().split('\n') };
};

it('makes nodes ready, replaces the agents without losing a packet, and leaves nodes as they were', async () => {
  await until('kubelets have begun', () => nodes.every(isSettled), 60_000);
  const before = nodes.map(shown);
  for (const object of objects()) lab.apply(object);
  await until('the nodes are ready', () => readyNodes() === nodes.length, 60_000);

  await until('kubectl culvert finds all well', () => culvert().status === 0, 60_000);
  expect(culvert().lines).toEqual([
    expect.stringMatching(/^NODE +STATUS +AGENT +MODE +MTU +PODS +SOURCE +POD-CIDRS$/),
    ...nodes.map((node) => expect.stringMatching(`^${node} +Ready +ready +vxlan +1450 +0/253 +ok +10[.]244[.]`)),
    '',
    '2 nodes: 2 ready, no problems; 0 of 506 pod addresses leased',
  ]);
  // nobody listens there
  const unheard = culvert('problems', nodes[1]!, '--port', '1');
  expect(unheard).toEqual({
    status: 1,
    lines: [
      expect.stringMatching(`^${nodes[1]}: the agent does not answer through the API server: .*refused`),
      '',
      '1 node: 0 ready, 1 with problems',
    ],
  });

  for (const node of nodes) runPod(`on-${node}`, node);
  lab.kubectl('wait --for=condition=Ready pod --all --timeout=90s');
  const target = lab.kubectl(`get pod on-${nodes[1]} -o jsonpath={.status.podIP}`);
  const shell = (line: string): string => lab.do('kubectl', 'exec', `on-${nodes[0]}`, '--', 'sh', '-c', line);
  shell(`ping -i 0.2 ${target} >/tmp/ping 2>&1 & echo $! >/tmp/pid`);
  lab.kubectl('-n culvert-system rollout restart daemonset/culvert');
  lab.kubectl('-n culvert-system rollout status daemonset/culvert --timeout=120s');
  const counted = shell('kill -INT $(cat /tmp/pid); sleep 1; tail -n 2 /tmp/ping');
  expect(counted).toContain(' 0% packet loss');

  // refused as long as there are an agent and a pod
  expect(lab.on(nodes[0]!, '/opt/cni/bin/culvert uninstall').stdout).toMatch(/an agent answers.*\n.*1 pod is attached/);
  lab.kubectl('delete pod --all --wait=true');
  lab.kubectl('-n culvert-system delete daemonset culvert --wait=true');
  await until('the agents are gone', () => !lab.kubectl('-n culvert-system get pods -o name').includes('pod'), 60_000);
  expect(culvert('problems')).toMatchObject({
    status: 1,
    lines: [
      `${nodes.join(', ')}: no agent: no pod of the DaemonSet in namespace culvert-system is there`,
      '',
      '2 nodes: 0 ready, 2 with problems',
    ],
  });
  for (const node of nodes) {
    expect(lab.on(node, '/opt/cni/bin/culvert uninstall')).toMatchObject({ status: 0, stderr: '' });
    expect(lab.on(node, 'ls /opt/cni/bin /etc/cni/net.d').stdout).not.toMatch(/culvert/);
  }
  expect(nodes.map(shown)).toEqual(before);
}, 300_000);

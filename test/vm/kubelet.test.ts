/**
 * Kubelets and containerds in machines with Debian's kernel, and the DaemonSet of conf/kubernetes on them: their pods' traffic sealed
 * by WireGuard, a machine rebooted with pods on it, another mode while pods talk. The control plane is on the segment
 * (scripts/kube-lab).
 */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { KubeLab } from '../kube/lab/lab.ts';
import { addressesOf, type Pod as KubePod, Pods, podSpec } from '../kube/lab/pods.ts';
import { patience } from '../support/agents.ts';
import { makeImage as makeContainerImage } from '../support/image.ts';
import { labManifests } from '../support/manifests.ts';
import { run } from '../support/netns.ts';
import { onDemand } from '../support/tally.ts';
import { giveKubeconfig, nodeAddresses, upBeside } from './lab/beside.ts';
import { checkout, kubernetesDrive } from './lab/drives.ts';
import { pings } from './lab/flow.ts';
import { unpackImages } from './lab/images.ts';
import type { VmLab } from './lab/lab.ts';
import type { LabNode } from './lab/node.ts';
import type { Header } from './lab/packet.ts';
import { scratchDir } from './lab/scratch.ts';

const kube = new KubeLab();
const pods = new Pods(kube, ['node1', 'node2']);
const files = scratchDir();
const kubeconfig = '/etc/kubernetes/kubeconfig';

let lab: VmLab;
let node1: LabNode;
let node2: LabNode;

/** Waits until it is so, for ten minutes; asks now and then: emulated machines want the processors for themselves. */
async function eventually(
  what: () => string | Promise<string>,
  holds: () => boolean | Promise<boolean>,
): Promise<void> {
  const end = Date.now() + 600_000 * patience;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ten minutes: ${await what()}`);
    await sleep(1000);
  }
}

/** Disks with the container images, nothing pulled: the pods' and the product's. */
async function diskWithImages(): Promise<string> {
  run([join(checkout, 'scripts/image')]);
  const box = join(files, 'box.tar');
  makeContainerImage(box);
  return unpackImages(join(files, 'images'), [box, join(checkout, 'dist/culvert-image.tar')]);
}

async function configure(node: LabNode): Promise<void> {
  await giveKubeconfig(kube, node, kubeconfig);
  await node.vm.exec(`set -e; cd /project/test/kube/lab/node
    mkdir -p /etc/containerd /etc/kubernetes/manifests
    cp containerd.toml /etc/containerd/config.toml
    cp kubelet.yaml /etc/`);
}

/**
 * As a boot does it. Kubelet, containerd and the plugins are in a cgroup beside that of pods, as systemd has them, with the share of a
 * machine with eight processors: of one that is all theirs the agent would get a tenth, and come up in minutes.
 */
const startKubelet = (node: LabNode): Promise<string> =>
  node.vm.exec(`set -e; cd /sys/fs/cgroup; mkdir system; echo +cpu >cgroup.subtree_control
    echo 12 >system/cpu.weight; echo $$ >system/cgroup.procs
    /project/test/kube/lab/node/start ${node.name} ${nodeAddresses(node)} /kubernetes/kubelet ${kubeconfig}`);

const publicKeyOf = (node: LabNode): string | undefined =>
  kube.get<{ metadata: { annotations: Record<string, string> } }>(`node ${node.name}`).metadata.annotations[
    'culvert/public-key'
  ];

const containersOf = (pod: KubePod): string => JSON.stringify(pod.status.containerStatuses);

const system = (...args: string[]): string => kube.do('kubectl', '-n', 'culvert-system', ...args);

/** What kubelets and agents say when something does not come about. */
const complaints = async (): Promise<string> =>
  [
    kube.kubectl('get nodes,pods --all-namespaces -o wide'),
    kube.kubectl('get events --all-namespaces'),
    ...(await Promise.all(
      lab.nodes.map(({ vm }) => vm.exec('tail -n 30 /var/log/kubelet.log /var/log/containerd.log')),
    )),
  ].join('\n');

/** All pods Running, and known to the machines' lab by their namespaces. */
async function podsRun(also: (pod: KubePod) => boolean = () => true): Promise<KubePod[]> {
  await eventually(complaints, () => pods.areReady(names.length) && pods.all().every(also));
  const all = pods.all();
  for (const node of lab.nodes) node.pods.length = 0;
  for (const pod of all) {
    const { vm, pods: known } = lab.node(pod.spec.nodeName);
    const pid = `$(grep -ls /pod${pod.metadata.uid}/ /proc/[0-9]*/cgroup | head -n 1 | cut -d / -f 3)`;
    const name = (await vm.exec(`ip netns identify ${pid}`)).trim();
    if (!name) throw new Error(`${pod.metadata.name}: no named network namespace is its processes'`);
    const [v4, v6] = addressesOf(pod) as [string, string];
    known.push({ name, addresses: { 4: v4, 6: v6 } });
  }
  return all;
}

/** What a node has of its pods is what they have now. */
async function expectNothingElse(node: LabNode): Promise<void> {
  const own = node.pods.flatMap((p) => Object.values(p.addresses)).sort();
  const leases = async (): Promise<string[]> => {
    const shown = await node.vm.exec('/opt/cni/bin/culvert ipam show --json');
    return [...shown.matchAll(/"address": "([^"]+)"/g)].map((m) => m[1]!).sort();
  };
  await eventually(
    async () => `${node.name} has leases ${await leases()}, its pods ${own}`,
    async () => (await leases()).join() === own.join(),
  );
  expect(await node.vm.run('/opt/cni/bin/culvert ipam check')).toMatchObject({ exitCode: 0 });
  const lines = async (line: string): Promise<string[]> => (await node.vm.exec(line)).trim().split('\n');
  expect((await lines('ls /run/netns')).sort()).toEqual(node.pods.map((p) => p.name).sort());
  expect(await lines('ip -br link show type veth')).toHaveLength(node.pods.length);
  // one of the sandbox, one of the container; and so for the agent
  const tasks = await lines('ctr -n k8s.io tasks list | tail -n +2');
  expect(tasks).toHaveLength(2 * (node.pods.length + 1));
  for (const task of tasks) expect(task).toContain('RUNNING');
}

const isOfPod = ({ src, dst }: Header): boolean => [src, dst].some((a) => /^(10\.244\.|fd00:244:)/.test(a));

/** The last one on node2, the others on node1. */
const names = ['a', 'b', 'c'];

/** Minutes of all there is of emulated processors. */
const isWanted = process.env['REQUIRE_ALL'] === '1';

beforeEach(({ skip }) => {
  if (!isWanted) skip(`a quarter of an hour of emulated processors${onDemand}`);
});

beforeAll(async () => {
  if (!isWanted) return;
  lab = await upBeside(kube, {
    drives: { kubernetes: await kubernetesDrive(['kubelet']) },
    disk: await diskWithImages(),
    memoryMebibytes: 1024,
    translationMebibytes: 512,
  });
  [node1, node2] = lab.nodes as [LabNode, LabNode];
  for (const name of ['controller-manager', 'scheduler']) kube.do('start', name);
  for (const object of labManifests({ mode: 'wireguard', slow: true })) kube.apply(object);
  await Promise.all(
    lab.nodes.map(async (node) => {
      await configure(node);
      await startKubelet(node);
    }),
  );
  for (const [i, name] of names.entries()) {
    const spec = { ...podSpec(), nodeName: i < 2 ? 'node1' : 'node2' };
    kube.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec });
  }
  await podsRun();
}, 900_000);

afterAll(async () => {
  rmSync(files, { recursive: true, force: true });
  if (!isWanted) return;
  await lab?.down();
  kube.down();
});

describe('kubelets in machines, mode wireguard', { timeout: 900_000 }, () => {
  it('become Ready with the DaemonSet, and tell each other their keys by annotations', async () => {
    expect(pods.areNodesReady(2)).toBe(true);
    for (const [own, other] of [
      [node1, node2],
      [node2, node1],
    ] as const) {
      const key = publicKeyOf(own);
      expect((await own.vm.exec('wg show culvert-wg public-key')).trim()).toBe(key);
      expect((await other.vm.exec('wg show culvert-wg peers')).trim()).toBe(key);
    }
  });

  it('have pods that reach each other, and only WireGuard on the segment', async () => {
    const capture = await lab.capture('lan');
    expect(await lab.unreachable()).toEqual([]);
    const packets = await capture.stop();
    expect(packets.filter((headers) => headers.some(isOfPod))).toEqual([]);
    const sealed = { protocol: 17, sourcePort: 51820, port: 51820 };
    expect(packets).toContainEqual([expect.objectContaining({ src: nodeAddresses(node1)[0], ...sealed })]);
    expect(packets).toContainEqual([expect.objectContaining({ src: nodeAddresses(node2)[0], ...sealed })]);
    for (const node of lab.nodes) await expectNothingElse(node);
  });

  it('after a reboot with pods on it a node has them anew, its key still, and nothing else of the boot before', async () => {
    const before = new Map(pods.of('node1').map((pod) => [pod.metadata.name, containersOf(pod)]));
    const key = publicKeyOf(node1);
    await node1.restart('orderly');
    await startKubelet(node1);
    const all = await podsRun((pod) => containersOf(pod) !== before.get(pod.metadata.name));
    const addresses = all.flatMap(addressesOf);
    expect(new Set(addresses).size).toBe(2 * names.length);
    expect(await lab.unreachable()).toEqual([]);
    await expectNothingElse(node1);
    expect(publicKeyOf(node1)).toBe(key);
    expect((await node1.vm.exec('wg show culvert-wg public-key')).trim()).toBe(key);
  });

  it('change over to vxlan by an edit of the ConfigMap while pods talk: no packet lost', async () => {
    const flow = pings(node1, node2.pods[0]!.addresses[4]!, 500);
    await flow.begun();
    system('patch', 'configmap', 'culvert-traffic', '--type=merge', '-p', JSON.stringify({ data: { mode: 'vxlan' } }));
    const inForce = (): string => system('get', 'configmap', 'culvert-traffic', '-o', 'jsonpath={.data.traffic}');
    await eventually(inForce, () => inForce() === JSON.stringify({ mode: 'vxlan', sameSubnet: 'tunnel' }));
    expect(await node1.vm.exec('ip route show proto 67')).toContain('dev culvert-vxlan');
    expect(await flow.stop()).toMatchObject({ missing: [] });
  });
});

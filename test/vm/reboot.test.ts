/** A node that goes and comes back: the agent restarted under traffic, the machine rebooted with pods on it. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VmLab } from './lab/lab.ts';

const twoNodes = { segments: ['lan'], nodes: { node1: { segments: ['lan'] }, node2: { segments: ['lan'] } } };

let lab: VmLab;

beforeAll(async () => {
  lab = await VmLab.up(twoNodes);
  await lab.configure({ agent: { mode: 'vxlan' } });
  for (const node of lab.nodes) await node.addPod(`${node.name}-pod`);
});

afterAll(() => lab?.down());

describe('an agent restarted under traffic', () => {
  it.each(['TERM', 'KILL'])('by SIG%s loses no packet', async (signal) => {
    const [node1, node2] = [lab.node('node1'), lab.node('node2')];
    const target = node2.pods[0]!.addresses;
    const streams = ([4, 6] as const).map((family) =>
      node1.stream('node1-pod', target[family]!, { count: 200, intervalSeconds: 0.05 }),
    );
    await node1.vm.exec(`kill -${signal} $(cat /run/culvert-agent.pid)`);
    await node1.startAgent();
    await node1.ready();
    for (const stream of streams) expect(await stream).toEqual({ sent: 200, lost: 0 });
  });
});

describe.each(['orderly', 'power cut'] as const)('a node rebooted with pods on it, %s', (how) => {
  it('has its agent back, gives new pods addresses, and reaches the others', async () => {
    const node1 = lab.node('node1');
    const before = node1.pods.map((p) => p.addresses);
    // leases are not forced to the disk one by one: what a power cut takes of them, it takes with their pods
    await node1.vm.exec('sync');
    await node1.reboot(how);
    // the leases of the earlier boot are still on disk: its pods are no longer, nobody has called DEL for them
    const leases = await node1.vm.exec('ls /var/lib/cni/networks/culvert');
    expect(leases).toContain(before[0]![4]!);
    // a runtime makes new sandboxes after a boot
    const pod = await node1.addPod(`after-${how.replaceAll(' ', '-')}`);
    expect(before.map((a) => a[4])).not.toContain(pod.addresses[4]);
    expect(await lab.unreachable()).toEqual([]);
  });
});

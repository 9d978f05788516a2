/** nft flowtables: connections of pods take the short cut on both nodes, in every mode that comes, and leave it when it is switched off. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Family } from '../../src/net/address.ts';
import { VmLab } from './lab/lab.ts';
import type { LabNode } from './lab/node.ts';

const twoNodes = { segments: ['lan'], nodes: { node1: { segments: ['lan'] }, node2: { segments: ['lan'] } } };

let lab: VmLab;
let [node1, node2]: LabNode[] = [];

beforeAll(async () => {
  lab = await VmLab.up(twoNodes);
  // a pod that comes joins at the next look
  await lab.configure({ agent: { mode: 'routed', flowtable: true, resyncSeconds: 2 } });
  [node1, node2] = lab.nodes;
  for (const node of lab.nodes) await node.addPod(`${node.name}-pod`);
  await node2!.vm.exec('ip netns exec node2-pod iperf3 -s -D');
});

afterAll(() => lab?.down());

const address = (family: Family): string => node2!.pods[0]!.addresses[family]!;

/** Runs until it answers with exit code 0; answers what it printed. */
async function until(node: LabNode, script: string): Promise<string> {
  const { exitCode, stdout } = await node.vm.run(`for i in $(seq 60); do ${script} && exit; sleep 0.2; done; exit 1`);
  if (exitCode !== 0) throw new Error(`${node.name}: not in time: ${script}\n${stdout}${await node.agentLog()}`);
  return stdout;
}

const devices = (node: LabNode, names: string): Promise<string> =>
  until(node, `nft list flowtables inet 2>/dev/null | grep 'devices = { ${names} }'`);

const offloaded = (node: LabNode, family: Family): Promise<string> =>
  until(node, `conntrack -L -f ipv${family} -p tcp 2>/dev/null | grep 'dport=5201 .*OFFLOAD'`);

/** A TCP connection of node1's pod to node2's, with both nodes' entries for it seen on the short cut. */
async function expectShortCut(family: Family): Promise<void> {
  const iperf = `ip netns exec node1-pod iperf3 -t 60 -b 1M -c ${address(family)}`;
  const pid = (await node1!.vm.exec(`${iperf} >/tmp/iperf 2>&1 & echo $!`)).trim();
  for (const node of [node1!, node2!]) expect(await offloaded(node, family)).toContain('OFFLOAD');
  // the server takes one client at a time
  await node1!.vm.run(`kill -INT ${pid}; while kill -0 ${pid} 2>/dev/null; do sleep 0.2; done`);
}

describe('a flowtable', () => {
  it('has the devices that lead to nodes and to pods, and takes connections of both families', async () => {
    for (const node of lab.nodes) await devices(node, 'eth0, veth[0-9a-f]*');
    await expectShortCut(4);
    await expectShortCut(6);
  });

  it('loses a pod that goes and comes back when somebody deletes it', async () => {
    await node1!.addPod('short-lived');
    await devices(node1!, 'eth0, veth[0-9a-f]*, veth[0-9a-f]*');
    await node1!.removePod('short-lived');
    await devices(node1!, 'eth0, veth[0-9a-f]*');
    await node1!.vm.exec('nft delete table inet culvert_flowtable');
    await devices(node1!, 'eth0, veth[0-9a-f]*');
  });

  it('stands no change of mode in the way of connections', async () => {
    const client = node1!.vm.run(`ip netns exec node1-pod iperf3 -t 15 -b 1M -c ${address(4)}`);
    await lab.configure({ agent: { mode: 'vxlan', flowtable: true, resyncSeconds: 2 } });
    for (const node of lab.nodes) await devices(node, 'culvert-vxlan, eth0, veth[0-9a-f]*');
    const { exitCode, stdout } = await client;
    expect(exitCode, stdout).toBe(0);
    await expectShortCut(6);
  });

  it('is gone when it is switched off', async () => {
    await lab.configure({ agent: { mode: 'vxlan', flowtable: false, resyncSeconds: 2 } });
    for (const node of lab.nodes) await until(node, '! nft list table inet culvert_flowtable 2>/dev/null');
    expect(await lab.unreachable()).toEqual([]);
  });
});

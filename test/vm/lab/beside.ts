/** Machines on the link of scripts/kube-lab, where a real API server is: node1 and node2. */

import { families, formatAddress } from '../../../src/net/address.ts';
import type { KubeLab } from '../../kube/lab/lab.ts';
import { type Extras, VmLab } from './lab.ts';
import type { LabNode } from './node.ts';

const topology = {
  segments: { lan: { prefixes: ['192.168.77.0/24', 'fd77::/64'] } },
  nodes: { node1: { segments: ['lan'] }, node2: { segments: ['lan'] } },
};

/** Both come up; what of the control plane the test wants besides API server and etcd it starts. */
export async function upBeside(kube: KubeLab, extras: Extras): Promise<VmLab> {
  kube.up(0);
  const lab = await VmLab.up(topology, extras);
  kube.joinBridge(lab.segments.wires.pid, lab.segments.bridge('lan'));
  return lab;
}

/** IPv4, IPv6. */
export function nodeAddresses({ spec }: LabNode): string[] {
  const addresses = spec.ports[0]!.addresses.map((a) => a.address);
  return families.map((family) => formatAddress(addresses.find((a) => a.family === family)!));
}

/** Gives a machine the administrator's kubeconfig, as a file there. */
export async function giveKubeconfig(kube: KubeLab, { vm }: LabNode, file: string): Promise<void> {
  await vm.exec(`mkdir -p $(dirname ${file})
    cat >${file} <<'END'\n${kube.kubectl('config view --raw --flatten')}\nEND`);
}

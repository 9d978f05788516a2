/** What Kubernetes expects of a cluster's network, by IPv4 and by IPv6. */

import { describe, expect, it } from 'vitest';
import { families } from '../../../src/net/address.ts';
import { addressesOf, ask, fromPod, type Pod, type Pods } from '../lab/pods.ts';

const answered = (pod: Pod, address: string): boolean =>
  fromPod(pod).sh(`ping -q -c 1 -W 5 ${address} || true`).includes(' 1 received');

/** Every pod reaches every pod, itself among them, and is seen with its own address. */
export function expectMatrix(all: readonly Pod[]): void {
  for (const to of all) {
    for (const [i, address] of addressesOf(to).entries()) {
      for (const from of all) {
        const way = `${from.metadata.name} to ${to.metadata.name} at ${address}`;
        expect(ask(fromPod(from), address)[0]?.seen, way).toBe(addressesOf(from)[i]);
        expect(answered(from, address), `ping ${way}`).toBe(true);
      }
    }
  }
}

export function describeModel(pods: Pods): void {
  describe('the Kubernetes network model', () => {
    it('a pod has an address of each of its node’s podCIDRs, IPv4 and IPv6', () => {
      for (const node of pods.nodes) {
        const { podCIDRs } = pods.lab.get<{ spec: { podCIDRs: string[] } }>(`node ${node}`).spec;
        expect(podCIDRs).toEqual([
          expect.stringMatching(/^10\.244\..*\/24$/),
          expect.stringMatching(/^fd00:244:.*\/64$/),
        ]);
        const starts = podCIDRs.map((cidr) => cidr.replace(/0\/24$|\/64$/, ''));
        for (const pod of pods.of(node)) {
          expect(addressesOf(pod)).toEqual(starts.map((start) => expect.stringMatching(`^${start}[0-9a-f]+$`)));
        }
      }
    });

    it('a pod reaches every pod, itself among them, and is seen with its own address: no NAT', () => {
      expectMatrix(pods.all());
    });

    it('a node reaches every pod and is seen with an address of its own, and pods reach nodes: no NAT', () => {
      for (const node of pods.nodes) {
        for (const address of pods.all().flatMap(addressesOf)) {
          expect(pods.addressesOf(node)).toContain(ask(pods.fromNode(node), address)[0]?.seen);
        }
        const own = pods.nodeAddresses(node);
        expect(own).toHaveLength(families.length);
        for (const pod of pods.all()) {
          for (const address of own) expect(answered(pod, address), `${pod.metadata.name} to ${address}`).toBe(true);
        }
      }
    });

    it('a pod sees itself with the addresses that others see', () => {
      for (const pod of pods.all()) {
        const shown = pods.lab.kubectl(`exec ${pod.metadata.name} -- ip -o addr show dev eth0`);
        for (const address of addressesOf(pod)) expect(shown).toContain(` ${address}/`);
      }
    });
  });
}

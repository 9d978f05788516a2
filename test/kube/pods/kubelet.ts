/** What kubelet asks of a pod's network: host ports, rates, probes, neighbours in the host's network. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../../support/agents.ts';
import {
  addressesOf,
  addressOf,
  ask,
  bigBytes,
  type Client,
  fetchBig,
  fromHost,
  fromPod,
  machineOutside,
  outsideAddresses,
  type Pod,
  type Pods,
  plainAddress,
  podSpec,
} from '../lab/pods.ts';

const hostPort = 8080;
const bitsPerSecond = 1_000_000;

const container = {
  ports: [{ containerPort: 80, hostPort }],
  readinessProbe: { httpGet: { path: '/cgi-bin/probe', port: 80 }, periodSeconds: 1 },
  livenessProbe: { tcpSocket: { port: 80 }, periodSeconds: 1 },
};
const annotations = { 'kubernetes.io/ingress-bandwidth': '1M', 'kubernetes.io/egress-bandwidth': '1M' };

/** The qdiscs of a pod's own devices on its node: its end of the pair and the ifb beside it. */
function qdiscsOf({ lab }: Pods, node: string, address: string): string {
  const dev = / dev (\S+)/.exec(lab.on(node, `ip route get ${address}`).stdout)![1]!;
  return [dev, dev.replace('veth', 'bwp')].map((d) => lab.on(node, `tc qdisc show dev ${d}`).stdout).join('');
}

export function describeKubelet(pods: Pods): void {
  describe('a pod of which kubelet wants more', () => {
    const [node, other] = pods.nodes as [string, string];
    let pod: Pod;
    let remote: Pod;

    beforeAll(async () => {
      pod = await pods.run('more', { ...podSpec(container), nodeName: node }, { annotations });
      remote = pods.of(other)[0]!;
    });
    afterAll(() => pods.delete('more'));

    it('is probed by kubelet, and sees its node', () => {
      expect(pods.addressesOf(node)).toContain(plainAddress(pods.inPod(pod).sh('cat /tmp/probed').trim()));
    });

    it('hostPort: machines outside, other nodes, their pods, its own node and the pod itself reach it', () => {
      const seenFrom = (client: Client, address: string) => ask(client, address, hostPort)[0]?.seen;
      const outside = machineOutside(pods.lab);
      try {
        for (const [family, address] of pods.nodeAddresses(node).entries()) {
          expect(seenFrom(fromHost(outside), address)).toBe(outsideAddresses[family]);
          expect(pods.addressesOf(other)).toContain(seenFrom(pods.fromNode(other), address));
          expect(seenFrom(fromPod(remote), address)).toBe(addressesOf(remote)[family]);
          expect(pods.addressesOf(node)).toContain(seenFrom(pods.fromNode(node), address));
          expect(pods.addressesOf(node)).toContain(seenFrom(fromPod(pod), address));
        }
        expect(pods.addressesOf(node)).toContain(seenFrom(pods.fromNode(node), '127.0.0.1'));
      } finally {
        outside.remove();
      }
    });

    it('bandwidth annotations hold to it and from it, and are buckets on its links', () => {
      expect(qdiscsOf(pods, node, addressOf(pod)).match(/tbf .* rate 1Mbit/g)).toHaveLength(2);
      // what a full bucket lets through at once takes no time
      const leastMs = ((bigBytes * 8) / bitsPerSecond - 0.4) * 1000;
      expect(fetchBig(fromPod(remote), addressOf(pod))).toBeGreaterThan(leastMs);
      expect(fetchBig(fromPod(pod), addressOf(remote))).toBeGreaterThan(leastMs);
    });

    it('leaves neither host port nor bucket when it goes', async () => {
      pods.delete('more'); // the API server forgets it first, then its runtime does
      const left = () =>
        pods.lab.on(node, 'tc qdisc show').stdout + pods.lab.on(node, 'nft list table inet culvert_portmap').stdout;
      await until(left, () => !/tbf|comment/.test(left()), 60_000);
      for (const address of pods.nodeAddresses(node)) {
        for (const from of [node, other]) expect(ask(pods.fromNode(from), address, hostPort)).toEqual([]);
      }
    });
  });

  it('a pod in the host’s network sees pods’ own addresses, and pods see its node', async () => {
    const [node] = pods.nodes as [string];
    const onHost = await pods.run('on-host', { ...podSpec({}, 8099), hostNetwork: true, nodeName: node });
    try {
      const others = pods.all().filter((p) => p.metadata.name !== 'on-host');
      for (const [family, address] of pods.nodeAddresses(node).entries()) {
        for (const pod of others) {
          const own = addressesOf(pod)[family]!;
          expect(ask(fromPod(pod), address, 8099)[0]?.seen).toBe(own);
          expect(pods.addressesOf(node)).toContain(ask(fromPod(onHost), own)[0]?.seen);
        }
      }
    } finally {
      pods.delete('on-host');
    }
  });
}

/** bandwidth: what iperf3 measures of it, to the container and from it, by both families. */

import { expect } from 'vitest';
import { it, itOurs } from '../support/case.ts';
import { Chained } from '../support/chain.ts';
import type { Host } from '../support/netns.ts';
import { ours } from '../support/suite.ts';
import { throughput } from '../support/throughput.ts';

const families = [4, 6] as const;
const gateway = { 4: '10.1.2.1', 6: 'fd00:1:2::1' };
const mbit = 1_000_000;
const rate = 20 * mbit;
/** A machine that is busy elsewhere for longer than the bucket lasts measures too little: then it is measured anew. */
const again = { retry: 2, timeout: 180_000 };

const shaped = (host: Host, bandwidth: object, keys: object = {}): Chained => {
  const pod = new Chained(host, { type: 'bandwidth', runtimeConfig: { bandwidth }, ...keys });
  pod.add();
  return pod;
};

const toPod = (host: Host, pod: Chained, family: 4 | 6, seconds?: number): Promise<number> =>
  throughput(host.netns, pod.netns, pod.address(family), seconds);

const fromPod = (host: Host, pod: Chained, family: 4 | 6, seconds?: number): Promise<number> =>
  throughput(pod.netns, host.netns, gateway[family], seconds);

/** Within 5 % of the rate. TCP's payload is 95.6 % of the frames by IPv4 and 94.3 % by IPv6; the burst comes on top. */
function expectRate(measured: number, asked = rate): void {
  expect(measured / asked).toBeGreaterThan(0.95);
  expect(measured / asked).toBeLessThan(1.05);
}

/** One pod for every measurement, all at once. */
async function expectRates(host: Host, bandwidth: object): Promise<void> {
  const measured = await Promise.all(
    families.flatMap((family) => [toPod, fromPod].map((measure) => measure(host, shaped(host, bandwidth), family))),
  );
  for (const bits of measured) expectRate(bits);
}

it('the rate is what was asked for, with a burst of a tenth of a second', again, async ({ host }) => {
  await expectRates(host, {
    ingressRate: rate,
    ingressBurst: rate / 10,
    egressRate: rate,
    egressBurst: rate / 10,
  });
});

itOurs('and without a burst', again, async ({ host }) => {
  await expectRates(host, { ingressRate: rate, egressRate: rate });
});

itOurs('and with a burst smaller than a packet', again, async ({ host }) => {
  await expectRates(host, { ingressRate: rate, ingressBurst: 8, egressRate: rate, egressBurst: 8 });
});

itOurs('and with the burst that runtimes fill in for none', again, async ({ host }) => {
  const [kubelet, containerd] = [2 ** 31 - 1, 2 ** 32 - 1];
  await expectRates(host, { ingressRate: rate, ingressBurst: kubelet, egressRate: rate, egressBurst: containerd });
});

it('the other direction is not held back', async ({ host }) => {
  const keys = (direction: string) => ({ [`${direction}Rate`]: rate, [`${direction}Burst`]: rate / 10 });
  expect(await fromPod(host, shaped(host, keys('ingress')), 4, 1)).toBeGreaterThan(10 * rate);
  expect(await toPod(host, shaped(host, keys('egress')), 4, 1)).toBeGreaterThan(10 * rate);
});

itOurs(
  'unshaped subnets are not held back, all else is',
  async ({ host }) => {
    host.exec('ip addr add 10.7.0.1/32 dev lo');
    host.exec('ip addr add fd07::1/128 dev lo');
    const unshapedSubnets = ['10.7.0.0/16', 'fd07:0:0:0:0:8000::/45', 'fd07::/64', '192.0.2.0/24'];
    const limits = { ingressRate: rate, egressRate: rate };
    for (const pod of [shaped(host, { ...limits, unshapedSubnets }), shaped(host, limits, { unshapedSubnets })]) {
      for (const [family, far] of [
        [4, '10.7.0.1'],
        [6, 'fd07::1'],
      ] as const) {
        expect(await throughput(pod.netns, host.netns, far, 1)).toBeGreaterThan(10 * rate);
        expect(await throughput(host.netns, pod.netns, `${pod.address(family)} -B ${far}`, 1)).toBeGreaterThan(
          10 * rate,
        );
      }
      const rest = families.flatMap((family) => [toPod(host, pod, family, 2), fromPod(host, pod, family, 2)]);
      for (const bits of await Promise.all(rest)) expect(bits).toBeLessThan(1.3 * rate);
    }
  },
  120_000,
);

itOurs('shaped subnets alone are held back', again, async ({ host }) => {
  host.exec('ip addr add 10.7.0.1/32 dev lo');
  const pod = shaped(host, { ingressRate: rate, egressRate: rate, shapedSubnets: ['10.7.0.0/16'] });
  expectRate(await throughput(pod.netns, host.netns, '10.7.0.1'));
  expectRate(await throughput(host.netns, pod.netns, `${pod.address(4)} -B 10.7.0.1`));
  for (const family of families) expect(await fromPod(host, pod, family, 1)).toBeGreaterThan(10 * rate);
});

itOurs('a container that may change links cannot take it away', again, async ({ host }) => {
  const pod = shaped(host, { ingressRate: rate, egressRate: rate });
  for (const line of [
    'tc qdisc replace dev eth0 root pfifo',
    'tc qdisc replace dev eth0 clsact',
    'ip link set eth0 down',
    'ip link set eth0 up',
  ]) {
    pod.pod.exec(line);
  }
  pod.pod.exec('ip route replace default via 10.1.2.1');
  expect(pod.pod.exec('tc qdisc show')).not.toContain('tbf');
  expectRate(await fromPod(host, pod, 4));
  expectRate(await toPod(host, pod, 4));
});

it('packets of a large MTU pass', async ({ host }) => {
  const pod = new Chained(
    host,
    { type: 'bandwidth', ingressRate: rate, ingressBurst: rate, egressRate: rate, egressBurst: rate },
    { keys: { mtu: 9000 } },
  );
  pod.add();
  expect(pod.pod.ip<{ mtu: number }>('link show eth0')[0]?.mtu).toBe(9000);
  pod.pod.exec('ping -c 1 -W 2 -M do -s 8972 10.1.2.1');
  expect(ours || pod.previous).toBeTruthy();
});

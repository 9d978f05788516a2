/** Many pods at once on one node: each with addresses of its own, each reached, and nothing left of any. */

import { describe, expect, it, onTestFinished } from 'vitest';
import { until } from '../../support/agents.ts';
import { addressesOf, type Pod, type Pods, podSpec } from '../lab/pods.ts';

/** How many: 250 is what somebody waits for who wants to know. A podCIDR of 24 bits has 253 addresses. */
const count = Number(process.env['KUBE_CROWD'] ?? 60);
/** Far more than it takes, on processors that are busy with much else. */
const patienceMs = 120_000 + count * 4_000;

const labels = { app: 'crowd' };
const crowd = (nodeName: string): object => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'crowd' },
  spec: {
    replicas: count,
    selector: { matchLabels: labels },
    template: { metadata: { labels }, spec: { ...podSpec(), nodeName } },
  },
});

const remove = (how: string): string[] =>
  `kubectl delete deployment crowd --ignore-not-found --cascade=foreground ${how}`.split(' ');

/** What pods have of their node: leases, links of the host, named namespaces. */
const heldOn = (pods: Pods, node: string): string[] => [
  ...pods.leasesOf(node),
  ...(pods.lab.on(node, 'ip -br link show type veth').stdout.match(/^veth\w+/gm) ?? []),
  ...pods.lab.on(node, 'ls /run/netns').stdout.trim().split('\n'),
];

/** The addresses that do not answer a ping. */
function unreachable(pods: Pods, node: string, addresses: readonly string[]): string[] {
  const pings = addresses.map((a) => `{ ping -q -c 1 -w 10 ${a} >/dev/null || echo ${a}; } &\n`).join('');
  return pods.fromNode(node).sh(`${pings}wait`).match(/\S+/g) ?? [];
}

export function describeCrowd(pods: Pods): void {
  const { lab } = pods;
  const [node, other] = pods.nodes as [string, string];
  const members = (): Pod[] => lab.get<{ items: Pod[] }>(`pods -l app=${labels.app}`).items;
  const isRolledOut = (): boolean =>
    lab.try(['kubectl', 'rollout', 'status', 'deployment/crowd', '--timeout=60s']).status === 0;
  // one that waits, not many that ask: the processors are wanted for the pods
  const isGone = (): boolean =>
    lab.try(['kubectl', 'wait', 'pod', '-l', `app=${labels.app}`, '--for=delete', '--timeout=60s']).status === 0 ||
    members().length === 0;
  const failures = (): string[] =>
    lab
      .get<{ items: { type: string; message: string }[] }>('events --field-selector=type=Warning')
      .items.map((e) => e.message)
      .filter((message) => /sandbox|network/.test(message));

  describe('many pods on one node', () => {
    it(`${count} (KUBE_CROWD) come, each with addresses of its own that answer, and leave nothing when they go`, {
      timeout: 3 * patienceMs,
    }, async ({ annotate }) => {
      const before = heldOn(pods, node);
      const failedBefore = failures();
      onTestFinished(() => void lab.try(remove('--timeout=160s'))); // where the test fails
      const started = performance.now();
      lab.apply(crowd(node));
      await until(() => lab.kubectl('get pods -o wide'), isRolledOut, patienceMs);
      const cameMs = performance.now() - started;

      const all = members();
      expect(all).toHaveLength(count);
      const addresses = all.flatMap(addressesOf);
      expect(addresses).toHaveLength(2 * count);
      expect(new Set(addresses).size).toBe(addresses.length);
      await pods.leasesFit();
      expect(unreachable(pods, other, addresses)).toEqual([]);
      expect(failures()).toEqual(failedBefore);

      const left = performance.now();
      lab.do(...remove('--wait=false'));
      await until(() => lab.kubectl('get pods -o wide'), isGone, patienceMs);
      const leftOver = (): string[] => heldOn(pods, node).filter((thing) => !before.includes(thing));
      await until(
        () => `gone: ${leftOver()}`,
        () => leftOver().length === 0,
        patienceMs,
      );
      const wentMs = performance.now() - left;
      const seconds = (ms: number): string => `${(ms / 1000).toFixed(0)} s`;
      await annotate(
        `${count} pods Running after ${seconds(cameMs)}, nothing left ${seconds(wentMs)} after their deletion`,
      );
    });
  });
}

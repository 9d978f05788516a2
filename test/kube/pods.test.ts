/** Pods of real kubelets and containerds, on nodes that agents connect: what Kubernetes expects of a cluster's network. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../support/agents.ts';
import { KubeLab } from './lab/lab.ts';
import { askAll, fromPod, type Pod, Pods, podSpec } from './lab/pods.ts';
import { describeCrowd } from './pods/crowd.ts';
import { describeKubelet } from './pods/kubelet.ts';
import { describeLife } from './pods/life.ts';
import { describeModel } from './pods/model.ts';
import { describeOutage } from './pods/outage.ts';
import { describeServices } from './pods/services.ts';

const lab = new KubeLab();
const nodes = [1, 2].map((i) => `${lab.name}${i}`);
const cluster = new Pods(lab, nodes);
/** The one that joins and leaves. */
const third = `${lab.name}3`;

const web = {
  apiVersion: 'apps/v1',
  kind: 'DaemonSet',
  metadata: { name: 'web' },
  spec: {
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: podSpec() },
  },
};

beforeAll(async () => {
  lab.up(nodes.length);
  lab.do('agents');
  await cluster.nodesReady(nodes.length);
  lab.apply(web);
  await cluster.ready(nodes.length);
});
afterAll(() => lab.down());

describeModel(cluster);
describeServices(cluster);
describeKubelet(cluster);
describeLife(cluster);
describeCrowd(cluster);
describeOutage(cluster);

describe('the cluster’s nodes', () => {
  /** A further node with this address joins: its pod, which all others reach. */
  const joins = async (address: string): Promise<Pod> => {
    lab.do('add', '3', address);
    await until('the Node', () => lab.try(['kubectl', 'get', 'node', third]).status === 0, 60_000);
    lab.do('agents');
    await cluster.nodesReady(3);
    const all = await cluster.ready(3);
    const newcomer = all.find((p) => p.spec.nodeName === third)!;
    for (const pod of all) {
      const [answer] = await askAll(fromPod(pod), newcomer.status.podIP!, 80, [newcomer.metadata.name]);
      expect(answer!.seen).toBe(pod.status.podIP);
    }
    return newcomer;
  };

  /** It leaves for good: nothing leads there any more. */
  const leaves = async (pod: Pod): Promise<void> => {
    lab.do('remove', third);
    lab.kubectl(`delete node ${third}`);
    lab.kubectl(`delete pod ${pod.metadata.name} --force --grace-period=0`); // nobody else does for a minute
    for (const node of nodes) {
      const ways = () => lab.on(node, 'ip route show proto 67').stdout + lab.on(node, 'bridge fdb').stdout;
      const gone = [pod.status.podIP!.replace(/\.\d+$/, '.'), `dst ${pod.status.hostIP} `];
      await until(ways, () => !gone.some((text) => ways().includes(text)), 15_000);
    }
  };

  it('takes in a node that joins, lets it go, and takes it in under its name with another address and podCIDR', {
    timeout: 300_000,
  }, async () => {
    lab.try(['remove', third]); // of a try before
    const first = await joins('192.168.77.13');
    await leaves(first);
    const second = await joins('192.168.77.33');
    expect(second.status.podIP!.replace(/\.\d+$/, '')).not.toBe(first.status.podIP!.replace(/\.\d+$/, ''));
    await leaves(second);
  });
});

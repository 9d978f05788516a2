/** Pods whose runtime fails them: what they have stays theirs, and comes back when they are gone. */

import { describe, expect, it } from 'vitest';
import { until } from '../../support/agents.ts';
import { addressOf, ask, type Pods } from '../lab/pods.ts';

export function describeLife(pods: Pods): void {
  describe('pods and their runtime', () => {
    const { lab } = pods;
    const [node, other] = pods.nodes as [string, string];

    it('keep their network when containerd starts anew, and are let go by it', async () => {
      const [before] = pods.of(node);
      lab.do('containerd', node);
      const again = () => lab.try(['kubectl', 'exec', before!.metadata.name, '--', 'ip', '-4', '-o', 'addr']).stdout;
      await until('containerd answers for its pods', () => again().includes(` ${addressOf(before!)}/`), 60_000);
      expect(ask(pods.fromNode(other), addressOf(before!))).toHaveLength(1);
      lab.kubectl(`delete pod ${before!.metadata.name}`);
      await pods.ready(pods.nodes.length);
      await pods.leasesFit();
    });

    it('that are deleted by force while containerd is dead give their addresses back', async () => {
      const [before] = pods.of(node);
      lab.on(node, 'pkill -KILL -x containerd');
      lab.kubectl(`delete pod ${before!.metadata.name} --force --grace-period=0`);
      // their sandboxes: processes dead, network namespaces without a name
      lab.on(node, 'pkill -KILL -x httpd');
      for (const name of lab.on(node, 'ls /run/netns').stdout.trim().split('\n')) {
        lab.on(node, `umount /run/netns/${name}`);
      }
      lab.do('containerd', node);
      const after = await pods.ready(pods.nodes.length);
      await pods.leasesFit();
      const fresh = after.find((p) => p.spec.nodeName === node)!;
      expect(fresh.metadata.name).not.toBe(before!.metadata.name);
      expect(ask(pods.fromNode(other), addressOf(fresh))).toHaveLength(1);
    });
  });
}

/** A node that changes suites with its pods running: what the reference plugins attached, ours detach. */

import { expect } from 'vitest';
import { attach, dualStack } from '../support/bridge.ts';
import { itOurs, needs } from '../support/case.ts';
import type { Host } from '../support/netns.ts';
import { fine, type Pod, resultOf } from '../support/pod.ts';
import { referenceDir } from '../support/suite.ts';

const portmap = (hostPort: number) => ({
  type: 'portmap',
  runtimeConfig: { portMappings: [{ hostPort, containerPort: 80, protocol: 'tcp' }] },
});
const firewall = { type: 'firewall' };

/** Everything that filters or translates, whoever made it. */
const rules = (host: Host): string =>
  ['iptables-save', 'ip6tables-save', 'nft list ruleset'].map((line) => host.exec(line)).join('\n');

itOurs(
  'a pod of the reference leaves no host port and no address behind, another one keeps its own',
  ({ host, skip }) => {
    needs({ skip }, 'the reference plugins');
    const attached = (id: string, hostPort: number) => {
      const pod = attach(host, { cniVersion: '1.0.0', isDefaultGateway: true, ipMasq: true }, { id, ipam: dualStack });
      const theirs = { bin: referenceDir!, path: referenceDir! };
      const prevResult = resultOf(pod.call('ADD', theirs));
      const call = (command: string, plugin: string, more: object) =>
        host.call({
          plugin,
          command,
          conf: { ...pod.conf, ...more, prevResult },
          containerId: id,
          netns: pod.netns,
          ifname: 'eth0',
          ...(command === 'ADD' ? theirs : {}),
        });
      const chain = [portmap(hostPort), firewall];
      for (const conf of chain) expect(call('ADD', conf.type, conf).status).toBe(0);
      const del = () => {
        for (const conf of chain.toReversed()) fine(call('DEL', conf.type, conf));
        fine(call('DEL', 'bridge', {}));
      };
      return { pod, del };
    };
    const marksOf = (pod: Pod, hostPort: number) =>
      rules(host)
        .split('\n')
        .filter((line) => line.includes(pod.id) || line.includes(String(hostPort)));
    const [goes, stays] = [attached('goes-away', 8080), attached('stays-here', 8081)];
    const before = marksOf(stays.pod, 8081);
    expect(before.length).toBeGreaterThan(0);
    expect(rules(host)).toContain('10.1.2.2/32');
    goes.del();
    expect(marksOf(goes.pod, 8080)).toEqual([]);
    expect(rules(host)).not.toMatch(/\b10\.1\.2\.2\b|fd00:1:2::2\b/);
    expect(marksOf(stays.pod, 8081)).toEqual(before);
    expect(rules(host)).toMatch(/10\.1\.2\.3\/32 -j ACCEPT/);
    stays.del();
    expect(rules(host)).not.toMatch(/10\.1\.2\.3|fd00:1:2::3/);
  },
);

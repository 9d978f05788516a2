/** How many programs one execution starts: what a pod waits for. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { attach, dualStack, hostLocal } from '../support/bridge.ts';
import { itOurs } from '../support/case.ts';
import { Chained } from '../support/chain.ts';
import { lease } from '../support/ipam.ts';
import { binDir } from '../support/netns.ts';
import { fine, Pod, resultOf } from '../support/pod.ts';
import { culvertNode } from '../support/thick.ts';

/**
 * Program executions below the plugin's own, by the kernel's account: strace stands where nsenter would call the plugin.
 * One that replaces itself in a chain of exec (nsenter → sh → ip) is one child, so children are counted by clone as well.
 */
function traced(pod: Pod, command: string, conf: unknown = pod.conf): { programs: string[]; children: number } {
  const log = join(pod.host.dir, `trace-${command}`);
  const wrapper = ['strace', '-f', '-qq', '-e', 'trace=execve,clone,clone3,vfork,fork', '-e', 'signal=none', '-o', log];
  const plugin = join(binDir, String(pod.conf['type']));
  const environment = [
    `CNI_COMMAND=${command}`,
    `CNI_CONTAINERID=${pod.id}`,
    `CNI_NETNS=${pod.netns}`,
    'CNI_IFNAME=eth0',
    `CNI_PATH=${binDir}`,
  ];
  const stdout = pod.host.exec([...wrapper, 'env', ...environment, plugin].join(' '), JSON.stringify(conf));
  expect(stdout === '' || JSON.parse(stdout)).toBeTruthy();
  // a line that another process's came between is finished further down
  const lines = readFileSync(log, 'utf8').split('\n');
  const begun = new Map<string, string>();
  const executed = lines.flatMap((line) => {
    const [, pid = '', file] = /^(\d+) +(?:execve\("([^"]*)"|<\.\.\. execve resumed>)/.exec(line) ?? [];
    if (file) begun.set(pid, file);
    return / = 0$/.test(line) && pid ? [{ pid, file: begun.get(pid) ?? '' }] : [];
  });
  const pids = new Set(executed.map((e) => e.pid));
  // env, then the plugin, which becomes another program itself
  return { programs: executed.slice(3).map((e) => e.file), children: pids.size - 1 };
}

const keys = { isDefaultGateway: true, ipMasq: true };

describe.skipIf(process.env['CULVERT_SERVED'] === '1')('children of one execution', () => {
  itOurs('of bridge with host-local and masquerade: at most four on ADD, four on DEL', ({ host }) => {
    attach(host, keys, { ipam: dualStack }).add();
    const pod = attach(host, keys, { ipam: dualStack });
    const add = traced(pod, 'ADD');
    expect(add.children, add.programs.join(' ')).toBeLessThanOrEqual(4);
    const del = traced(pod, 'DEL');
    expect(del.children, del.programs.join(' ')).toBeLessThanOrEqual(4);
  });

  itOurs('of the first ADD, which makes the bridge: at most four', ({ host }) => {
    const add = traced(attach(host, keys, { ipam: dualStack }), 'ADD');
    expect(add.children, add.programs.join(' ')).toBeLessThanOrEqual(4);
  });

  itOurs('of ptp with host-local and masquerade: five on the first ADD, then four, four on DEL', ({ host }) => {
    const ipam = hostLocal(host, dualStack);
    const pods = [1, 2].map(() => new Pod(host, { cniVersion: '1.1.0', name: 'net', type: 'ptp', ipMasq: true, ipam }));
    for (const [pod, most] of [
      [pods[0]!, 5], // nft twice: the table is made when it is missed
      [pods[1]!, 4],
    ] as const) {
      const add = traced(pod, 'ADD');
      expect(add.children, add.programs.join(' ')).toBeLessThanOrEqual(most);
    }
    for (const pod of pods) {
      const del = traced(pod, 'DEL');
      expect(del.children, del.programs.join(' ')).toBeLessThanOrEqual(4);
    }
  });

  itOurs('of CHECK: at most four', ({ host }) => {
    const pod = attach(host, keys, { ipam: dualStack });
    const prevResult = resultOf(pod.call('ADD'));
    const check = traced(pod, 'CHECK', { ...pod.conf, prevResult });
    expect(check.children, check.programs.join(' ')).toBeLessThanOrEqual(4);
  });

  itOurs('of GC: at most four', ({ host }) => {
    const pod = attach(host, keys, { ipam: dualStack });
    pod.add();
    const collected = traced(pod, 'GC');
    expect(collected.children, collected.programs.join(' ')).toBeLessThanOrEqual(4);
  });

  itOurs('of portmap: one on ADD, four on DEL; of firewall: two on ADD, three on DEL', ({ host }) => {
    const runtimeConfig = { portMappings: [{ hostPort: 8080, containerPort: 80 }] };
    new Chained(host, {
      type: 'portmap',
      runtimeConfig: { portMappings: [{ hostPort: 81, containerPort: 80 }] },
    }).add();
    new Chained(host, { type: 'firewall' }).add();
    const { pod, previous } = new Chained(host, {});
    for (const [type, added] of [
      ['portmap', 1],
      ['firewall', 2],
    ] as const) {
      const chained = new Pod(host, { ...pod.conf, type, runtimeConfig, prevResult: previous }, pod.id, pod.netns);
      expect(traced(chained, 'ADD').children).toBe(added);
      const del = traced(chained, 'DEL');
      expect(del.children, del.programs.join(' ')).toBeLessThanOrEqual(type === 'portmap' ? 4 : 3);
    }
  });

  itOurs('of culvert: three on ADD, one on DEL; with host ports and shaping five, and six at most', ({ host }) => {
    const make = culvertNode(host);
    const mapping = { containerPort: 80, protocol: 'tcp' };
    const bandwidth = { ingressRate: 8_000_000, egressRate: 8_000_000 };
    make({ portMappings: [{ ...mapping, hostPort: 80 }] }).add();
    const [plain, asked] = [make(), make({ portMappings: [{ ...mapping, hostPort: 81 }], bandwidth })];
    // a shell that has ip stand by, here and in the container
    expect(traced(plain, 'ADD').children).toBe(3);
    expect(traced(plain, 'DEL').children).toBe(1);
    const add = traced(asked, 'ADD');
    expect(add.children, add.programs.join(' ')).toBe(5);
    // two links; the table read and written, connections ended
    const del = traced(asked, 'DEL');
    expect(del.children, del.programs.join(' ')).toBeLessThanOrEqual(6);
  });

  itOurs('of bandwidth: three on ADD, two on DEL, none for a pod that is not shaped', ({ host }) => {
    const { pod, previous } = new Chained(host, {});
    const shaped = (bandwidth: object) =>
      new Pod(
        host,
        { ...pod.conf, type: 'bandwidth', runtimeConfig: { bandwidth }, prevResult: previous },
        pod.id,
        pod.netns,
      );
    const asked = shaped({ ingressRate: 8_000_000, egressRate: 8_000_000 });
    expect(traced(asked, 'ADD').children).toBe(3);
    const del = traced(asked, 'DEL');
    expect(del.children, del.programs.join(' ')).toBe(2);
    for (const command of ['ADD', 'DEL']) expect(traced(shaped({}), command).children).toBe(0);
  });

  itOurs('of loopback: one on ADD, one on DEL', ({ host }) => {
    const pod = new Pod(host, { cniVersion: '1.1.0', name: 'lo', type: 'loopback' });
    expect(traced(pod, 'ADD').children).toBe(1);
    expect(traced(pod, 'DEL').children).toBe(1);
  });

  itOurs('of host-local by itself: none', ({ host }) => {
    const pod = lease(host, { subnet: '10.1.2.0/24' });
    expect(traced(pod, 'ADD').programs).toEqual([]);
    fine(pod.call('DEL'));
  });
});

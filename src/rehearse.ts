/**
 * A rehearsal before the start-up snapshot is taken: every verb of every plugin is run once against a kernel that accepts
 * everything, so that V8 has compiled what a pod waits for and the snapshot holds the compiled code. It saves a fresh plugin
 * process some ten milliseconds (docs/benchmarks.md). Nothing outside a temporary folder is touched.
 */

import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Io, type Plugin, runPlugin } from './cni/skel.ts';
import type { Exec } from './kernel/exec.ts';
import { createKernel, type Kernel, type StandBy } from './kernel/kernel.ts';
import { createMachine, type Machine } from './kernel/machine.ts';
import { standBy } from './kernel/standby.ts';

/** A kernel that accepts everything and has nothing: none of its programs is started, and no sysctl written. */
function agreeableKernel(sysctlRoot: string): Kernel {
  const exec: Exec = async (argv, { stdin = '' } = {}) => (argv.includes('-j') ? stdin.replaceAll(/.+/g, '[]') : '');
  const orders = async () => '';
  const start: StandBy = (names) => ({ orders: new Map(names.map((name) => [name, [orders]])), dismiss: () => {} });
  const kernel = createKernel(exec, start, sysctlRoot);
  return {
    ...kernel,
    ip: (lines, netns, sysctls, family) => kernel.ip(lines, netns, netns ? sysctls : [], family),
    async deleteLinks(names) {
      await kernel.deleteLinks(['lo', 'lo']); // which every namespace has
      return [...names];
    },
    hasLink: () => true,
    writeSysctl: () => {},
  };
}

/** Runs the plugins' verbs on a machine that is none. What they answer does not matter, only that they ran. */
export async function rehearse(plugins: ReadonlyMap<string, Plugin<Machine>>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'culvert-rehearsal-'));
  const machine: Machine = { ...createMachine(), kernel: agreeableKernel(dir), warn: () => {} };
  // an interface plugin finds host-local on CNI_PATH, sees that it is this executable and calls it in-process
  symlinkSync(machine.executable, join(dir, 'host-local'));
  writeFileSync(
    join(dir, 'node.json'),
    JSON.stringify({ podCIDRs: ['10.1.0.0/24', 'fd00::/64'], mtu: 1500, dataDir: dir }),
  );
  const ipam = { type: 'host-local', dataDir: dir, ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00::/64' }]] };
  const routes = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }];
  const runtimeConfig = {
    portMappings: [{ hostPort: 8080, containerPort: 80 }],
    bandwidth: { ingressRate: 8_000_000, egressRate: 8_000_000, unshapedSubnets: ['10.2.0.0/16', 'fd01::/64'] },
  };
  const attached = { cniVersion: '1.1.0', ips: [{ address: '10.1.0.2/24' }, { address: 'fd00::2/64' }] };
  await machine.exec(['true'], { stdin: 'x' });
  const standing = standBy(['ip', 'nft -f', 'nft -i'], '', () => {});
  await Promise.allSettled([...standing.orders.values()].flat().map((orders) => orders('', { doneWhen: /^$/ })));
  standing.dismiss();
  for (const plugin of plugins.values()) {
    const conf = { cniVersion: '1.1.0', name: 'rehearsal', type: plugin.name, isGateway: true, ipMasq: true };
    const stdin = JSON.stringify({
      ...conf,
      nodeFile: join(dir, 'node.json'),
      dataDir: dir,
      ipam: { ...ipam, routes },
      runtimeConfig,
    });
    let previous = plugin.chained ? JSON.stringify(attached) : '';
    for (const command of ['VERSION', 'ADD', 'CHECK', 'DEL', 'GC', 'STATUS']) {
      const io = rehearsalIo(command, dir, previous === '' ? stdin : stdin.replace(/}$/, `,"prevResult":${previous}}`));
      await runPlugin(plugin, machine, io);
      if (command === 'ADD') previous = io.answers.join('');
    }
  }
  rmSync(dir, { recursive: true, force: true });
}

function rehearsalIo(command: string, dir: string, stdin: string): Io & { answers: string[] } {
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: 'rehearsal',
    CNI_NETNS: '/proc/self/ns/net',
    CNI_NETNS_OVERRIDE: '1',
    CNI_IFNAME: 'eth0',
    CNI_PATH: dir,
  };
  const answers: string[] = [];
  return { env, answers, readStdin: () => stdin, stdout: (text) => void answers.push(text), stderr: () => {} };
}

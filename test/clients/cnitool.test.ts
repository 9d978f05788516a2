/** cnitool, with the CNI project's own libcni, as the runtime: it makes the configuration, caches the result, orders the chain. */

import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect } from 'vitest';
import { addressesOn, attach, dualStack, hostLocal, podAddresses, ruleset, veths } from '../support/bridge.ts';
import { it } from '../support/case.ts';
import { leased } from '../support/ipam.ts';
import { binDir, type Host, inside, type Ran, run } from '../support/netns.ts';
import type { CniResult, Pod } from '../support/pod.ts';

let program: string;

beforeAll(() => {
  program = run([join(import.meta.dirname, 'build-cnitool')]).trim();
});

/** One run of cnitool. libcni keeps results below /var/lib/cni: for it that is a folder of this host. */
function cnitool(pod: Pod, command: string): Ran {
  const conflists = join(pod.host.dir, 'net.d');
  const varLib = join(pod.host.dir, 'var-lib');
  const script = `mount --bind '${varLib}' /var/lib && exec '${program}' ${command} net '${pod.netns}'`;
  const argv = [...inside(pod.host.netns, 'unshare -m sh -c'), script];
  const env = { PATH: process.env['PATH'] ?? '', NETCONFPATH: conflists, CNI_PATH: binDir };
  const r = spawnSync(argv[0]!, argv.slice(1), { encoding: 'utf8', env });
  return { status: r.status ?? -1, stdout: r.stdout, stderr: r.stderr };
}

function succeeds(pod: Pod, command: string): string {
  const r = cnitool(pod, command);
  if (r.status !== 0) throw new Error(`cnitool ${command}: exit ${r.status}: ${r.stderr}${r.stdout}`);
  return r.stdout;
}

/** The network as an administrator writes it: bridge with host-local, then loopback. */
function network(host: Host, cniVersion: string, keys: object = {}): Pod {
  for (const dir of ['net.d', 'var-lib']) mkdirSync(join(host.dir, dir));
  const bridge = {
    type: 'bridge',
    bridge: 'br0',
    isDefaultGateway: true,
    ipMasq: true,
    ipam: hostLocal(host, dualStack),
    ...keys,
  };
  const conflist = { cniVersion, name: 'net', plugins: [bridge, { type: 'loopback' }] };
  writeFileSync(join(host.dir, 'net.d', '10-net.conflist'), JSON.stringify(conflist));
  return attach(host);
}

describe.each(['0.3.1', '0.4.0', '1.0.0', '1.1.0'])('cnitool with a conflist of %s', (cniVersion) => {
  it('adds: the chain’s result, addresses, traffic', ({ host }) => {
    const pod = network(host, cniVersion);
    const result = JSON.parse(succeeds(pod, 'add')) as CniResult;
    expect(result.cniVersion).toBe(cniVersion);
    expect(result.interfaces?.map((i) => i.name)).toEqual(['br0', veths(host)[0], 'eth0']);
    expect(podAddresses(pod)).toEqual(['10.1.2.2/24', 'fd00:1:2::2/64']);
    expect(addressesOn(host, 'br0')).toEqual(['10.1.2.1/24', 'fd00:1:2::1/64']);
    for (const address of ['10.1.2.1', 'fd00:1:2::1', '127.0.0.1', '::1']) expect(pod.pings(address)).toBe(true);
  });

  it('deletes: nothing is left, also the second time', ({ host }) => {
    const pod = network(host, cniVersion);
    succeeds(pod, 'add');
    succeeds(pod, 'del');
    succeeds(pod, 'del');
    expect([veths(host), leased(host)]).toEqual([[], []]);
    expect(ruleset(host)).not.toContain('10.1.2.2');
  });

  it('deletes a container that is gone', ({ host }) => {
    const pod = network(host, cniVersion);
    succeeds(pod, 'add');
    host.removePod(pod.netns);
    succeeds(pod, 'del');
    expect(leased(host)).toEqual([]);
  });

  it('adds again after it deleted', ({ host }) => {
    const pod = network(host, cniVersion);
    succeeds(pod, 'add');
    succeeds(pod, 'del');
    expect((JSON.parse(succeeds(pod, 'add')) as CniResult).ips?.[0]?.address).toBe('10.1.2.3/24');
  });

  it('tells our error when an add fails', ({ host }) => {
    const pod = network(host, cniVersion);
    pod.exec('ip link add eth0 type veth peer name other');
    const r = cnitool(pod, 'add');
    expect(r.status).toBe(1);
    expect(r.stderr + r.stdout).toContain('eth0');
    expect(leased(host)).toEqual([]);
  });
});

describe.each(['0.4.0', '1.0.0', '1.1.0'])('cnitool check with a conflist of %s', (cniVersion) => {
  it('is fine after add', ({ host }) => {
    const pod = network(host, cniVersion);
    succeeds(pod, 'add');
    succeeds(pod, 'check');
  });

  it('tells what is wrong', ({ host }) => {
    const pod = network(host, cniVersion);
    succeeds(pod, 'add');
    pod.exec('ip addr del 10.1.2.2/24 dev eth0');
    const r = cnitool(pod, 'check');
    expect(r.status).toBe(1);
    expect(r.stderr + r.stdout).toContain('10.1.2.2/24');
  });
});

describe('cnitool gc', () => {
  it('removes all, as it lists no attachment: link, addresses, masquerade', ({ host }) => {
    const pod = network(host, '1.1.0');
    succeeds(pod, 'add');
    succeeds(pod, 'gc');
    expect([veths(host), leased(host)]).toEqual([[], []]);
    expect(ruleset(host)).not.toMatch(/10\.1\.2\.2|fd00:1:2::2/);
    succeeds(pod, 'add');
    expect(pod.pings('10.1.2.1')).toBe(true);
  });

  it('removes what a container left that went without del, also when the runtime forgot it', ({ host }) => {
    const pod = network(host, '1.1.0');
    succeeds(pod, 'add');
    host.removePod(pod.netns);
    rmSync(join(host.dir, 'var-lib', 'cni', 'results'), { recursive: true });
    succeeds(pod, 'gc');
    expect([veths(host), leased(host)]).toEqual([[], []]);
    expect(ruleset(host)).not.toMatch(/10\.1\.2\.2|fd00:1:2::2/);
  });
});

describe('cnitool status', () => {
  it('is fine where a container can be added', ({ host }) => {
    const pod = network(host, '1.1.0');
    succeeds(pod, 'status');
    succeeds(pod, 'add');
    succeeds(pod, 'status');
  });

  it('tells our error where the configuration is wrong', ({ host }) => {
    const pod = network(host, '1.1.0', { mtu: -1 });
    const r = cnitool(pod, 'status');
    expect(r.status).toBe(1);
    expect(r.stderr + r.stdout).toContain('mtu');
  });
});

/**
 * kill -9 of ADDs at random moments (spec section 3: a DEL follows every ADD, also one that failed): what DEL and GC do not
 * find is leaked, and nothing may be. KILL_SEED repeats the moments.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attach, dualStack, ruleset, veths } from '../support/bridge.ts';
import { Dice } from '../support/dice.ts';
import { dataDir, leased } from '../support/ipam.ts';
import { binDir, Host, inside } from '../support/netns.ts';
import { fine, type Pod } from '../support/pod.ts';

const seed = Number(process.env['KILL_SEED'] ?? Date.now() % 1_000_000);
const kills = 200;
const keys = { isDefaultGateway: true, ipMasq: true };

let host: Host;
const { chance } = new Dice(seed);

beforeAll(() => {
  console.log(`KILL_SEED=${seed}`);
  host = new Host('k');
});

afterAll(() => host.remove());

/** ADD as its own process group, so that a kill reaches the programs it started as well as a dying machine would. */
function startAdd(pod: Pod): ChildProcess {
  const argv = inside(host.netns, join(binDir, 'bridge'));
  const parameters = {
    CNI_COMMAND: 'ADD',
    CNI_CONTAINERID: pod.id,
    CNI_NETNS: pod.netns,
    CNI_IFNAME: 'eth0',
    CNI_PATH: binDir,
  };
  const child = spawn(argv[0]!, argv.slice(1), {
    env: { PATH: process.env['PATH'] ?? '', ...parameters },
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  child.stdin!.on('error', () => {}); // killed before it read
  child.stdin!.end(JSON.stringify(pod.conf));
  return child;
}

/** Runs ADD and kills it after a time; every second kill spares the children, as the runtime's own kill does. */
async function killedAdd(pod: Pod, afterMs: number, group: boolean): Promise<void> {
  const child = startAdd(pod);
  const gone = new Promise((resolve) => child.on('close', resolve));
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  try {
    process.kill(group ? -child.pid! : child.pid!, 'SIGKILL');
  } catch {
    // it was faster
  }
  await gone;
}

/** Milliseconds of one whole ADD: the median of five. */
async function measured(): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 5; i++) {
    const pod = attach(host, keys, { ipam: dualStack });
    const started = performance.now();
    await new Promise((resolve) => startAdd(pod).on('close', resolve));
    times.push(performance.now() - started);
    pod.del();
  }
  return times.sort((a, b) => a - b)[2]!;
}

/** Every file of the lease folder that names one of the attachments, whatever the file is for. */
function filesNaming(ids: readonly string[]): string[] {
  const folder = join(dataDir(host), 'net');
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => {
    const path = join(folder, file);
    if (ids.some((id) => file.includes(id))) return true;
    try {
      const text = readFileSync(path, 'utf8');
      return ids.some((id) => new RegExp(`\\b${id}\\b`).test(text));
    } catch {
      return false; // a folder
    }
  });
}

describe('kill -9 during ADD', () => {
  it(`${kills} times: DEL for half of them and GC leave nothing, and the network works`, async () => {
    const stays = attach(host, keys, { ipam: dualStack });
    stays.add();
    const wholeMs = await measured();
    const pods: Pod[] = [];
    for (let n = 0; n < kills; n++) {
      const pod = attach(host, keys, { ipam: dualStack, id: `killed-${n}` });
      await killedAdd(pod, chance() * wholeMs * 1.1, n % 2 === 0);
      pods.push(pod);
    }
    const halfDone = leased(host).length;
    const deleted = pods.filter((_, n) => n % 2 === 0);
    for (const pod of deleted) pod.del();
    expect(filesNaming(deleted.map((p) => p.id))).toEqual([]);
    for (const pod of deleted) expect(ruleset(host)).not.toMatch(new RegExp(`\\b${pod.id}\\b`));
    const conf = { ...stays.conf, 'cni.dev/valid-attachments': [{ containerID: stays.id, ifname: 'eth0' }] };
    fine(host.call({ plugin: 'bridge', command: 'GC', conf }));

    console.log(`one ADD takes ${wholeMs.toFixed(0)} ms; leases before DEL and GC: ${halfDone}`);
    expect(halfDone).toBeGreaterThan(kills / 10);
    expect(leased(host)).toEqual(['10.1.2.2', 'fd00:1:2::2']);
    expect(veths(host)).toHaveLength(1);
    expect(ruleset(host)).not.toContain('killed-');
    expect((ruleset(host).match(/10\.1\.2\.[1-9]\d*/g) ?? []).filter((ip) => ip !== '10.1.2.2')).toEqual([]);
    expect(filesNaming(pods.map((p) => p.id))).toEqual([]);
    for (const pod of pods) expect(pod.ip('link').map((l) => l['ifname'])).toEqual(['lo']);

    const last = attach(host, keys, { ipam: dualStack });
    const result = last.add();
    expect(last.pings('10.1.2.1')).toBe(true);
    expect(stays.pings(result.ips![0]!.address.split('/')[0]!)).toBe(true);
    fine(last.check(result));
  }, 600_000);
});

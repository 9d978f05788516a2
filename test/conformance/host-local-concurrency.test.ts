/** host-local called by many at once (spec section 3, "Lifecycle & Ordering"): every address once, none lost. */

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { it } from '../support/case.ts';
import { dataDir, leased } from '../support/ipam.ts';
import { binDir, type Host, inside } from '../support/netns.ts';
import type { CniResult } from '../support/pod.ts';

const ipam = (host: Host) => ({ type: 'host-local', dataDir: dataDir(host), subnet: '10.1.0.0/24' });

/** One execution without waiting for it; answers what it printed. */
function start(host: Host, command: string, id: string): Promise<CniResult | undefined> {
  const conf = { cniVersion: '1.1.0', name: 'net', type: 'host-local', ipam: ipam(host) };
  const argv = inside(host.netns, join(binDir, 'host-local'));
  const env = { CNI_COMMAND: command, CNI_CONTAINERID: id, CNI_NETNS: '/x', CNI_IFNAME: 'eth0', CNI_PATH: binDir };
  const child = spawn(argv[0]!, argv.slice(1), {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stdin.end(JSON.stringify(conf));
  return new Promise((resolve) =>
    child.on('close', () => resolve(out === '' ? undefined : (JSON.parse(out) as CniResult))),
  );
}

describe('50 at once', () => {
  it('get 50 different addresses, and all come back', async ({ host }) => {
    const ids = Array.from({ length: 50 }, (_, i) => `c${i}`);
    const results = await Promise.all(ids.map((id) => start(host, 'ADD', id)));
    const got = results.map((r) => r?.ips?.[0]?.address);
    expect(new Set(got).size).toBe(50);
    expect(leased(host)).toHaveLength(50);
    await Promise.all(ids.map((id) => start(host, 'DEL', id)));
    expect(leased(host)).toEqual([]);
  });

  it('of ADDs and DELs of others do not disturb each other', async ({ host }) => {
    const old = Array.from({ length: 20 }, (_, i) => `old${i}`);
    await Promise.all(old.map((id) => start(host, 'ADD', id)));
    const fresh = Array.from({ length: 30 }, (_, i) => `new${i}`);
    const results = await Promise.all([
      ...old.map((id) => start(host, 'DEL', id)),
      ...fresh.map((id) => start(host, 'ADD', id)),
    ]);
    const got = results.slice(20).map((r) => r?.ips?.[0]?.address);
    expect(new Set(got).size).toBe(30);
    expect(
      leased(host)
        .map((ip) => `${ip}/24`)
        .sort(),
    ).toEqual([...got].sort());
  });
});

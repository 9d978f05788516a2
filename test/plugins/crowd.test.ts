/**
 * A node that comes back: 100 containers added by 25 workers and deleted in random order, and the same with kill -9 at random
 * moments and a GC. By a chain and by the plugin of a cluster. With CROWD_ROUNDS it is 250 containers by 50 workers, so many
 * times; CROWD_SEED repeats the order and the moments.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hostLocal } from '../support/bridge.ts';
import { Dice } from '../support/dice.ts';
import { dataDir } from '../support/ipam.ts';
import { leftovers } from '../support/leftovers.ts';
import { Host, inside, run } from '../support/netns.ts';
import type { CniResult } from '../support/pod.ts';
import { type Container, Runtime, withWorkers } from '../support/runtime.ts';

const isShort = process.env['CROWD_ROUNDS'] === undefined;
const rounds = Number(process.env['CROWD_ROUNDS'] ?? 1);
const seed = Number(process.env['CROWD_SEED'] ?? Date.now() % 1_000_000);
const size = isShort ? 100 : 250;
const workers = isShort ? 25 : 50;
const subnets = ['10.1.0.0/16', 'fd00:1::/64'];

let host: Host;
let containers: Container[];

beforeAll(() => {
  console.log(`CROWD_ROUNDS=${rounds} CROWD_SEED=${seed}`);
  host = new Host('w');
  host.exec('ip -batch -', 'address add 192.0.2.1/32 dev lo\naddress add 2001:db8::1/128 dev lo\n');
  const node = { attach: 'ptp', podCIDRs: subnets, addresses: ['192.0.2.1', '2001:db8::1'], mtu: 1450 };
  writeFileSync(join(host.dir, 'node.json'), JSON.stringify({ ...node, dataDir: dataDir(host) }));
  containers = Array.from({ length: size }, (_, n) => ({
    id: `crowd-${n}`,
    netns: host.pod('w'),
    runtimeConfig: { portMappings: [{ hostPort: 20_000 + n, containerPort: 80, protocol: n % 5 ? 'tcp' : 'udp' }] },
  }));
});

afterAll(() => host.remove());

const lists = {
  'bridge, portmap and firewall': () => [
    {
      type: 'bridge',
      bridge: 'br0',
      isDefaultGateway: true,
      ipMasq: true,
      ipam: hostLocal(host, { ranges: subnets.map((subnet) => [{ subnet }]) }),
    },
    { type: 'portmap', capabilities: { portMappings: true } },
    { type: 'firewall' },
  ],
  culvert: () => [{ type: 'culvert', nodeFile: join(host.dir, 'node.json') }],
};

const addressesOf = (result: CniResult): string[] => result.ips!.map((ip) => ip.address.split('/')[0]!);

const pings = (from: Container, to: CniResult): void => {
  for (const address of addressesOf(to)) {
    try {
      run(inside(from.netns, `ping -n -c 1 -W 5 ${address}`));
    } catch (error) {
      const shown = ['ip route', 'ip neigh', 'ip -s link', 'nft list ruleset'].flatMap((line) => [
        `host: ${line}\n${host.exec(line)}`,
        ...(line.startsWith('ip') ? [`container: ${line}\n${run(inside(from.netns, line))}`] : []),
      ]);
      throw new Error(shown.join('\n'), { cause: error });
    }
  }
};

describe.each(Object.entries(lists))('%s', (_, plugins) => {
  it(`${size} containers by ${workers} workers: every address once, no error, nothing left`, async () => {
    const dice = new Dice(seed);
    const runtime = new Runtime(host, plugins());
    for (let round = 0; round < rounds; round++) {
      const started = performance.now();
      const results = new Map<Container, CniResult>();
      await withWorkers(workers, containers, async (c) => void results.set(c, (await runtime.add(c))!));
      const added = performance.now();
      expect(new Set([...results.values()].flatMap(addressesOf)).size).toBe(2 * size);
      const [a, b] = dice.shuffled(containers);
      pings(a!, results.get(b!)!);
      await withWorkers(workers, dice.shuffled(containers), async (c) => void (await runtime.del(c, results.get(c))));
      const seconds = [added - started, performance.now() - added].map((ms) => (ms / 1000).toFixed(1));
      console.log(`round ${round + 1}: ADD ${seconds[0]} s, DEL ${seconds[1]} s`);
      await runtime.quiet();
      expect(leftovers(host, dataDir(host))).toEqual([]);
    }
  }, 900_000);

  it(`the same with kill -9 at random moments: GC leaves what is still there, and that works`, async () => {
    const dice = new Dice(seed);
    const runtime = new Runtime(host, plugins());
    const kills = plugins().length;
    /** An execution killed now and then, at any point of it. */
    const fate = () => {
      const typical = runtime.times.reduce((sum, ms) => sum + ms, 0) / Math.max(runtime.times.length, 1);
      return dice.chance() < 0.4 ? { afterMs: dice.chance() * typical * 1.2, group: dice.chance() < 0.5 } : undefined;
    };
    for (let round = 0; round < rounds; round++) {
      const results = new Map<Container, CniResult>();
      let killed = 0;
      await withWorkers(workers, containers, async (c) => {
        const result = await runtime.add(c, fate(), Math.floor(dice.chance() * kills));
        if (result) results.set(c, result);
        else killed++;
      });
      expect(new Set([...results.values()].flatMap(addressesOf)).size).toBe(2 * results.size);
      const [stays, ...goes] = [...results.keys()];
      await withWorkers(workers, dice.shuffled(goes), async (c) => {
        const ended = await runtime.del(c, results.get(c), fate(), Math.floor(dice.chance() * kills));
        if (!ended) killed++;
      });
      await runtime.quiet();
      const leaked = leftovers(host, dataDir(host)).length;
      await runtime.gc([stays!]);
      const kept = leftovers(host, dataDir(host));
      console.log(`round ${round + 1}: ${killed} killed, ${leaked} things left before GC, ${kept.length} after`);
      expect(killed).toBeGreaterThan(size / 10);
      expect(kept.filter((thing) => /^element/.test(thing) && !thing.includes(stays!.id))).toEqual([]);
      expect(kept.filter((thing) => /^lease/.test(thing))).toEqual(
        addressesOf(results.get(stays!)!).map((address) => `lease net ${address}`),
      );
      expect(kept.filter((thing) => /^link/.test(thing))).toHaveLength(1);

      const last = { ...goes[0]!, id: `last-${round}` };
      const result = await runtime.add(last);
      pings(stays!, result!);
      await runtime.del(last, result);
      await runtime.del(stays!, results.get(stays!));
      expect(leftovers(host, dataDir(host))).toEqual([]);
    }
  }, 900_000);
});

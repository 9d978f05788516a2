/**
 * Things that other people and programs do to a node while pods talk, in random order: traffic goes on, long before the periodic look.
 * REPAIR_ROUNDS says how many, REPAIR_SEED the order; how long packets were missing is printed.
 */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pinging } from '../../src/lab/pinging.ts';
import { Fabric, patience, until } from '../support/agents.ts';
import { needs } from '../support/case.ts';
import { Dice } from '../support/dice.ts';
import type { Feature } from '../support/suite.ts';

const rounds = Number(process.env['REPAIR_ROUNDS'] ?? (patience > 1 ? 8 : 12));
const seed = Number(process.env['REPAIR_SEED'] ?? Date.now() % 1_000_000);
/** Of the agents: what is mended sooner was not found by it. */
const resyncSeconds = 600;

let fabric: Fabric;
beforeAll(() => {
  console.log(`REPAIR_ROUNDS=${rounds} REPAIR_SEED=${seed}`);
  fabric = new Fabric();
});
afterAll(async () => {
  await fabric.stop();
  fabric.remove();
});

const [n1, n3] = [() => fabric.nodes[0]!, () => fabric.nodes[2]!];
const targets = ['10.244.2.5', '10.244.3.5', 'fd00:244:2::5', 'fd00:244:3::5'];

/** Pings all targets from n1's pod; answers the longest time without an answer from one of them, in ms. */
function watchPackets(): () => Promise<number> {
  const flows = targets.map((address) => pinging(n1().pod, address));
  return async () => {
    await Promise.all(flows.map((flow) => flow.answers(10)));
    const seen = await Promise.all(flows.map((flow) => flow.stop()));
    return Math.max(...seen.map(({ gapMs }) => gapMs));
  };
}

/** A distribution's own network set-up puts back what is its own. */
const network = [
  'ip link set dev eth0 up',
  'ip addr replace 192.168.1.11/24 dev eth0',
  'ip addr replace fd01::11/64 dev eth0 nodad',
  'ip route replace default via 192.168.1.1',
  'ip route replace default via fd01::1',
];

interface Mode {
  mode: string;
  needs: Feature[];
  /** Done in n1; PEER is n3's public key, MAC the address of n3's VTEP. */
  damages: string[][];
}

/** What nothing at all costs: so long the machine itself kept packets, or who counts them, waiting. */
const nothing = ['true'];

const everywhere: string[][] = [
  nothing,
  ['nft delete table inet culvert_cluster'],
  ['nft flush ruleset'],
  ['nft flush chain inet culvert_cluster postrouting'],
  ['sysctl -qw net.ipv4.ip_forward=0'],
  ['sysctl -qw net.ipv6.conf.all.forwarding=0'],
  ['ip link set dev eth0 down', ...network],
  ['ip route flush proto 67', 'ip -6 route flush proto 67'],
  ['ip addr flush dev eth0 scope global', 'ip route flush dev eth0', ...network],
];

const modes: Mode[] = [
  {
    mode: 'vxlan',
    needs: [],
    damages: [
      ...everywhere,
      ['ip route del 10.244.3.0/24'],
      ['ip -6 route del fd00:244:2::/64'],
      ['ip route change 10.244.3.0/24 via 192.168.1.12 dev eth0 proto 67'],
      ['ip neigh del 10.244.3.0 dev culvert-vxlan'],
      ['ip neigh change 10.244.3.0 lladdr 02:00:00:00:00:01 dev culvert-vxlan'],
      ['bridge fdb del MAC dev culvert-vxlan dst 192.168.2.13 self'],
      ['bridge fdb replace MAC dev culvert-vxlan dst 192.168.1.12 self'],
      ['ip addr flush dev culvert-vxlan'],
      ['ip link set dev culvert-vxlan down'],
      ['ip link set dev culvert-vxlan mtu 1280'],
      ['ip link del culvert-vxlan'],
    ],
  },
  {
    mode: 'wireguard',
    needs: ['wireguard'],
    damages: [
      ...everywhere,
      ['wg set culvert-wg peer PEER remove'],
      ['wg set culvert-wg peer PEER allowed-ips 10.9.0.0/16'],
      ['ip link set dev culvert-wg down'],
      ['ip link del culvert-wg'],
    ],
  },
  {
    mode: 'ipip',
    needs: ['ipip', 'ip6tnl'],
    damages: [...everywhere, ['ip link del culvert-ipip'], ['ip link del culvert-ip6tnl']],
  },
  { mode: 'routed', needs: [], damages: [...everywhere, ['ip route del 10.244.3.0/24']] },
];

describe.each(modes)('$mode', ({ mode, needs: features, damages }) => {
  it('everything that is taken away comes back', { timeout: 900_000 }, async (context) => {
    for (const feature of features) needs(context, feature, 'on demand');
    await fabric.stop();
    await fabric.start({ mode, behindRouter: 'gateway', resyncSeconds }, 'dual', 'dual');
    const { host, agent } = n1();
    const peer = mode === 'wireguard' ? n3().agent.publicKey : '';
    const dice = new Dice(seed);
    const worst = new Map<string, number>();
    let queue: string[][] = [];
    for (let round = 0; round < rounds; round++) {
      if (queue.length === 0) queue = dice.shuffled(damages);
      const lines = queue.pop()!;
      const name = lines.slice(0, 2).join('; ');
      const stop = watchPackets();
      await new Promise((resolve) => setTimeout(resolve, 300));
      for (const line of lines) {
        const mac = / lladdr (\S+)/.exec(host.exec('ip neigh show 10.244.3.0'))?.[1] ?? '';
        host.try(line.replace('PEER', peer).replace('MAC', mac));
      }
      await until(
        () => `${name} repaired: ${agent.plan().stdout}`,
        () => agent.plan().status === 0,
        10_000,
      );
      await until('all answer', () => targets.every((t) => pinged(t)), 10_000);
      worst.set(name, Math.max(worst.get(name) ?? 0, await stop()));
    }
    for (const [name, ms] of [...worst].sort(([, a], [, b]) => b - a))
      console.log(`${mode}: ${ms.toFixed(0)} ms without packets: ${name}`);
    expect(await fabric.unreachable('dual')).toEqual([]);
  });
});

const pinged = (address: string): boolean =>
  n1().host.try(`nsenter --net=${n1().pod} -- ping -nqc1 -W1 ${address}`).status === 0;

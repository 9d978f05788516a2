/** Every mode that wraps, on three nodes: who reaches whom, what is on the wire, what a restart, a repair and a change of mode do. */

import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { pinging } from '../../src/lab/pinging.ts';
import { Fabric, patience, read, until } from '../support/agents.ts';
import { needs } from '../support/case.ts';
import type { Stack } from '../support/cluster.ts';
import { tcpStream } from '../support/flow.ts';
import { Sniffer } from '../support/sniffer.ts';
import { type Feature, lacking } from '../support/suite.ts';

let fabric: Fabric;
beforeAll(() => {
  fabric = new Fabric();
});
afterEach(async () => {
  await fabric.stop();
});
afterAll(() => fabric.remove());

const node = (i: number) => fabric.nodes[i - 1]!;

interface Case {
  config: { mode: string; [key: string]: unknown };
  underlay: Stack;
  pods: Stack;
  features: Feature[];
  mtu: number;
}

const of = (mode: string, underlay: Stack, pods: Stack, mtu: number, ...features: Feature[]): Case => ({
  config: { mode },
  underlay,
  pods,
  features,
  mtu,
});

const direct = (c: Case): Case => ({ ...c, config: { ...c.config, sameSubnet: 'direct' } });

const cases: Case[] = [
  of('vxlan', 'dual', 'dual', 1450),
  of('ipip', 'v4', 'v4', 1480, 'ipip'),
  of('ipip', 'v6', 'v4', 1460, 'ip6tnl'),
  of('ipip', 'v6', 'dual', 1460, 'ip6tnl'),
  of('ipip', 'dual', 'dual', 1460, 'ipip', 'ip6tnl'),
  direct(of('ipip', 'dual', 'dual', 1460, 'ipip', 'ip6tnl')),
  of('wireguard', 'v4', 'dual', 1440, 'wireguard'),
  of('wireguard', 'v6', 'dual', 1420, 'wireguard'),
  of('wireguard', 'dual', 'dual', 1440, 'wireguard'),
  direct(of('wireguard', 'dual', 'dual', 1440, 'wireguard')),
];

const nameOf = ({ config, underlay, pods }: Case): string =>
  `${config.mode}${config['sameSubnet'] ? ', same subnet direct' : ''}: ${pods} pods over ${underlay}`;

/** test/vm has the matrix on another kernel, in machines that stay: three agents started for every case take minutes there. */
async function begin(c: Case, context: Pick<TestContext, 'skip'>): Promise<void> {
  for (const feature of c.features) needs(context, feature, 'on demand');
  await fabric.start(c.config, c.underlay, c.pods);
}

/** What tcpdump prints of the packets on the router's port to n3 while n1's pod pings n3's. */
async function wire(filter: string, target: string, size = 56): Promise<string> {
  const sniffer = await Sniffer.start(fabric.router.netns, 'n3', filter);
  const ping = ['ping', '-c', '2', '-i', '0.3', '-M', 'do', '-s', String(size), target];
  const { status } = spawnSync('nsenter', [`--net=${node(1).pod}`, '--', ...ping]);
  const seen = await sniffer.stop();
  expect(status, `ping ${target}`).toBe(0);
  return seen;
}

const target: Readonly<Record<4 | 6, string>> = { 4: '10.244.3.5', 6: 'fd00:244:3::5' };

/** n1's device towards n3's pod. */
const deviceTo = (family: 4 | 6): string =>
  /\bdev (\S+)/.exec(node(1).host.exec(`ip route get ${target[family]}`))![1]!;

/** Devices with flannel's parameters, and IPv6's like them. */
const byHand: Readonly<Record<string, string>> = {
  'culvert-vxlan': 'vxlan id 9 local 192.168.1.1 dev sw nolearning dstport 8472',
  'culvert-ipip': 'ipip local 192.168.1.1',
  'culvert-ip6tnl': 'ip6tnl external',
  'culvert-wg': 'wireguard',
};

/** Offloads as ethtool tells them: of ours, and of such a device made by hand. */
function featuresOf(device: string): [string, string] {
  const { router } = fabric;
  const shown = (text: string) => text.split('\n').slice(1).join('\n');
  router.exec(`ip link add name hand type ${byHand[device]}`);
  const its = router.exec('ethtool -k hand');
  router.exec('ip link delete dev hand');
  return [shown(node(1).host.exec(`ethtool -k ${device}`)), shown(its)];
}

/** Packets of a stream between pods longer than `bytes`, as n1's tunnel device takes them: cut below it, where packets leave (GSO). */
async function longSegments(family: 4 | 6, bytes: number): Promise<string> {
  const sniffer = await Sniffer.start(node(1).host.netns, deviceTo(family), `tcp and greater ${bytes}`);
  const stream = await tcpStream(node(1).pod, node(3).pod, target[family]);
  await sleep(300 * patience);
  const { sent, received } = await stream.stop();
  expect(received).toBe(sent);
  expect(Number.parseInt(sent, 10)).toBeGreaterThan(0);
  return sniffer.stop();
}

describe('pods and nodes on three nodes reach each other', () => {
  for (const c of cases) {
    it(nameOf(c), async (context) => {
      await begin(c, context);
      expect(await fabric.unreachable(c.pods)).toEqual([]);
      for (const { agent, host } of fabric.nodes) {
        expect(agent.plan()).toMatchObject({ status: 0, stdout: '' });
        expect(JSON.parse(read(host.dir, 'run/node.json'))).toMatchObject({ mode: c.config.mode, mtu: c.mtu });
      }
      // a packet of the whole MTU fits, and what wraps it is nowhere in pieces
      for (const family of c.pods === 'dual' ? ([4, 6] as const) : ([4] as const)) {
        const size = c.mtu - (family === 4 ? 28 : 48);
        expect(await wire('ip[6:2] & 0x1fff != 0 or ip6 proto 44', target[family], size)).toBe('');
        const [ours, its] = featuresOf(deviceTo(family));
        expect(ours).toBe(its);
        expect(await longSegments(family, 2 * c.mtu)).not.toBe('');
      }
    });
  }
});

describe('on the wire', () => {
  const outer4 = (protocol: string) =>
    new RegExp(`ttl 63, .*flags \\[DF\\], proto ${protocol}, .*\\n? *192\\.168\\.1\\.11 > 192\\.168\\.2\\.13: `);
  const outer6 = (protocol: string) => new RegExp(`hlim 63, next-header ${protocol} .*fd01::11 > fd02::13: `);
  const headers: [Case, 4 | 6, string, RegExp][] = [
    [cases[1]!, 4, 'ip proto 4', outer4('IPIP \\(4\\)')],
    [cases[3]!, 4, 'ip6 proto 4', outer6('IPIP \\(4\\)')],
    [cases[3]!, 6, 'ip6 proto 41', outer6('IPv6 \\(41\\)')],
  ];
  for (const [c, family, filter, header] of headers) {
    it(`${nameOf(c)}: IPv${family} behind one outer header, TTL 64 at the start`, async (context) => {
      await begin(c, context);
      const out = await wire(filter, target[family]);
      expect(out).toMatch(header);
      expect(out).toContain(`${family === 4 ? '10.244.1.5' : 'fd00:244:1::5'} > ${target[family]}: ICMP`);
    });
  }

  for (const c of [cases[6]!, cases[7]!]) {
    it(`${nameOf(c)}: UDP to port 51820 between nodes, and no pod's address`, async (context) => {
      await begin(c, context);
      const peers = c.underlay === 'v4' ? '192.168.1.11.51820 > 192.168.2.13.51820' : 'fd01::11.51820 > fd02::13.51820';
      for (const family of [4, 6] as const) {
        expect(await wire('udp port 51820', target[family])).toContain(`${peers}: UDP`);
        expect(await wire('net 10.244.0.0/16 or net fd00:244::/32', target[family])).toBe('');
      }
      // nor where pods talk to nodes
      const nodeAddress = c.underlay === 'v4' ? '192.168.2.13' : 'fd02::13';
      expect(await wire('net 10.244.0.0/16 or net fd00:244::/32', nodeAddress)).toBe('');
    });
  }
});

describe('an agent that ends and starts again', () => {
  for (const c of [cases[4]!, cases[8]!]) {
    it(`${nameOf(c)}: loses no packet and changes nothing`, async (context) => {
      await begin(c, context);
      const flow = pinging(node(1).pod, '10.244.3.5', 20);
      await flow.answers(10);
      for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
        await node(1).agent.stop(signal);
        node(1).agent.start();
        await node(1).agent.ready();
        expect(node(1).agent.applied).toEqual([]);
      }
      await flow.answers(10);
      expect(await flow.stop()).toMatchObject({ lost: 0 });
    });
  }
});

describe('a mode changed in the configuration', () => {
  it('leaves nothing of the one before', async (context) => {
    for (const c of cases) for (const feature of c.features) needs(context, feature, 'on demand');
    const order = [0, 4, 3, 8, 4, 7, 0, 6, 3, 8].map((i) => cases[i]!);
    for (const c of order) {
      await fabric.start(c.config, c.underlay, 'dual');
      expect(await fabric.unreachable('dual'), nameOf(c)).toEqual([]);
      const devices: Record<string, string[]> = {
        vxlan: ['vxlan'],
        ipip: ['ipip', 'ip6tnl'],
        wireguard: ['wg'],
      };
      const found = node(1)
        .host.exec('ip -br link')
        .split('\n')
        .flatMap((line) => /^culvert-(\w+)/.exec(line)?.[1] ?? []);
      expect(devices[c.config.mode]).toEqual(expect.arrayContaining(found));
      // one route to each podCIDR of the others: no leftover stands behind it
      for (const family of ['-4', '-6']) {
        const routes = node(1).host.exec(`ip ${family} route show proto 67`).trim().split('\n');
        expect(routes, `${nameOf(c)} ${routes}`).toHaveLength(2);
      }
      await fabric.stop();
    }
  });
});

describe('WireGuard keys', () => {
  it('are made at the first start, for root only, and stand in no log', async (context) => {
    needs(context, 'wireguard', 'on demand');
    const { agent, host } = node(1);
    await fabric.start({ mode: 'wireguard', log: 'debug' }, 'v4', 'v4');
    const file = join(host.dir, 'state/wireguard.key');
    const secret = read(file).trim();
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(host.exec('wg pubkey', secret).trim()).toBe(agent.publicKey);
    expect(host.exec('wg show culvert-wg public-key').trim()).toBe(agent.publicKey);
    expect(agent.output).toContain(`private-key ${file}`);
    expect(agent.output).not.toContain(secret);
  });

  it('a node with a new key replaces its old peer', async (context) => {
    needs(context, 'wireguard', 'on demand');
    const config = { mode: 'wireguard' };
    await fabric.start(config, 'v4', 'v4');
    const before = node(3).agent.publicKey;
    await node(3).agent.stop();
    node(3).host.exec(`rm ${join(node(3).host.dir, 'state/wireguard.key')}`);
    const after = node(3).agent.publicKey;
    fabric.writeCluster(JSON.stringify({ nodes: fabric.cluster(config, 'v4', 'v4') }));
    node(3).agent.start();
    await node(3).agent.ready();
    const peers = () => node(1).host.exec('wg show culvert-wg peers');
    await until('the old peer goes', () => peers().includes(after) && !peers().includes(before));
    expect(await fabric.unreachable('v4')).toEqual([]);
  });

  it('take a preshared key, and lose it again', async (context) => {
    needs(context, 'wireguard', 'on demand');
    const psk = join(fabric.router.dir, 'psk');
    fabric.router.exec(`dd of=${psk} status=none`, fabric.router.exec('wg genpsk'));
    fabric.router.exec(`chmod 600 ${psk}`);
    const shown = () => node(1).host.exec('wg show culvert-wg preshared-keys');
    await fabric.start({ mode: 'wireguard', wireguard: { presharedKeyFile: psk, keepaliveSeconds: 25 } }, 'v4', 'v4');
    expect(shown()).toContain(read(psk).trim());
    expect(node(1).host.exec('wg show culvert-wg persistent-keepalive')).toMatch(/\t25$/m);
    expect(await fabric.unreachable('v4')).toEqual([]);
    expect(node(1).agent.plan().status).toBe(0);
    await fabric.stop();
    await fabric.start({ mode: 'wireguard' }, 'v4', 'v4');
    expect(shown()).not.toContain(read(psk).trim());
    expect(await fabric.unreachable('v4')).toEqual([]);
  });
});

describe('two sites', () => {
  const site = (i: number): object => ({ site: i === 3 ? 'south' : 'north' });

  it('are routed within and WireGuard between', async (context) => {
    needs(context, 'wireguard', 'on demand');
    await fabric.start({ mode: 'routed', betweenSites: 'wireguard' }, 'dual', 'dual', site);
    expect(await fabric.unreachable('dual')).toEqual([]);
    const routes = node(1).host.exec('ip route show proto 67');
    expect(routes).toContain('10.244.2.0/24 via 192.168.1.12 dev eth0');
    expect(routes).toContain('10.244.3.0/24 dev culvert-wg');
    expect(await wire('net 10.244.0.0/16', '10.244.3.5')).toBe('');
  });

  it('are VXLAN within and IPIP between', async (context) => {
    needs(context, 'ipip', 'on demand');
    await fabric.start({ mode: 'vxlan', betweenSites: 'ipip' }, 'v4', 'v4', site);
    expect(await fabric.unreachable('v4')).toEqual([]);
    expect(await wire('ip proto 4', '10.244.3.5')).toContain('proto IPIP (4)');
  });
});

describe('what a mode needs', () => {
  for (const mode of (['ipip', 'wireguard'] as const).filter(lacking)) {
    it(`${mode}: is named where the kernel lacks it, and the agent is not ready`, async () => {
      const { agent } = node(1);
      agent.configure({ mode }, fabric.clusterFile);
      fabric.writeCluster(JSON.stringify({ nodes: fabric.cluster({ mode }, 'v4', 'v4') }));
      agent.start();
      await until('it says so', () => agent.output.includes(`This kernel has no links of type ${mode}`));
      expect(agent.lines.some((l) => l.msg === 'ready')).toBe(false);
    });
  }
});

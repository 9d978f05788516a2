/** Mode auto, `culvert probe` and doubled addresses: packets dropped on purpose between real nodes, and what the nodes make of it. */

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Fabric, type Line, patience, until } from '../support/agents.ts';
import { needs } from '../support/case.ts';
import { pings } from '../support/flow.ts';
import { binDir, Host } from '../support/netns.ts';
import { lacking } from '../support/suite.ts';
import { birdc, endBirds } from '../support/top-of-rack.ts';

/** The candidates that this kernel has. */
const able = [
  'vxlan',
  'routed',
  ...((lacking('ipip') ?? lacking('ip6tnl')) ? [] : ['ipip']),
  ...(lacking('wireguard') ? [] : ['wireguard']),
];

let fabric: Fabric;
let mtu: string;
const node = (i: number) => fabric.nodes[i - 1]!;

interface Way {
  node: string;
  way: string;
  why: string;
  passing: Record<string, string>;
  lacking: string[];
}

const ways = (i: number): Way[] => (JSON.parse(node(i).agent.get('/status')) as { ways: Way[] }).ways;
const wayTo = (from: number, to: number): Way => ways(from).find((w) => w.node === `n${to}`)!;

/** Both ends have settled on a way between n1 and n3, which the router is between. */
const agreeOn = (way: string): Promise<void> =>
  until(
    () => `${way} between n1 and n3: ${JSON.stringify([ways(1), ways(3)])}`,
    () => wayTo(1, 3).way === way && wayTo(3, 1).way === way,
    60_000,
  );

/** Of what goes to n3, in one direction only: a way is one there and back. */
const drop = (rule: string): void => {
  fabric.router.exec('nft add table inet block');
  fabric.router.exec('nft add chain inet block forward { type filter hook forward priority filter ; }');
  fabric.router.exec(`nft add rule inet block forward oifname n3 ${rule} drop`);
};
const undrop = (): void => void fabric.router.exec('nft delete table inet block');

const probe = (i: number): { status: number; stdout: string } =>
  node(i).host.try(`${join(binDir, 'culvert')} probe --config ${node(i).agent.configFile}`);

/** The line of a way that packets of full size pass. */
const passes = (to: string, way: string, now: string): RegExp =>
  new RegExp(`^${to} +${way} +${now} +passes +${mtu}$`, 'm');

beforeAll(async () => {
  fabric = new Fabric();
  // the order says what is preferred: the one that a firewall in between can stop comes first
  const candidates = ['vxlan', 'routed', 'ipip', 'wireguard'];
  // 48 questions a round, each a process: an emulated processor has little time for that
  const auto = { candidates, everySeconds: Math.ceil(patience / 2) };
  const agent = { mode: 'auto', auto, behindRouter: 'gateway', listen: '[::]:9467' };
  const keyed = able.includes('wireguard');
  await fabric.start(agent, 'dual', 'dual', (i) => (keyed ? { publicKey: node(i).agent.publicKey } : {}));
  mtu = /^culvert_mtu_bytes (\d+)$/m.exec(node(1).agent.get('/metrics'))![1]!;
}, 120_000 * patience);
afterAll(async () => {
  await fabric.stop();
  endBirds(fabric);
  fabric.remove();
});

/** Pings from n1's pod to n3's, the two of which the ways change between. */
const flowsOf = (count: number) => ['10.244.3.5', 'fd00:244:3::5'].map((address) => pings(node(1).pod, address, count));

describe('mode auto', () => {
  it('carries by the first that passes, on all nodes, and says why', { timeout: 120_000 * patience }, async () => {
    await agreeOn('vxlan');
    expect(await fabric.unreachable('dual')).toEqual([]);
    for (const { agent } of fabric.nodes) expect(agent.plan()).toMatchObject({ status: 0, stdout: '' });
    const all = Object.fromEntries(able.map((way) => [way, 'full']));
    await until(
      () => `every candidate passes: ${JSON.stringify(ways(1))}`,
      () => Object.values(wayTo(1, 3).passing).filter((p) => p === 'full').length === able.length,
      30_000,
    );
    expect(wayTo(1, 3)).toMatchObject({ why: 'the first, and it passes', passing: all, lacking: [] });
    expect(node(1).agent.get('/metrics')).toContain('culvert_way_carries{node="n3",way="vxlan"} 1');
  });

  it('takes another way where the one that carries stops passing, and that alone', {
    timeout: 90_000 * patience,
  }, async () => {
    drop('udp dport 4789');
    await agreeOn('routed');
    expect(wayTo(1, 2).way).toBe('vxlan');
    expect(wayTo(1, 3)).toMatchObject({ why: 'vxlan does not pass', passing: { vxlan: 'none', routed: 'full' } });
    expect(await fabric.unreachable('dual')).toEqual([]);
    expect(node(1).agent.lines).toContainEqual(
      expect.objectContaining({ msg: 'way', node: 'n3', before: 'vxlan', way: 'routed', why: 'vxlan does not pass' }),
    );
  });

  it('is told by `culvert probe`, with what to do', { timeout: 60_000 * patience }, () => {
    const { status, stdout } = probe(1);
    expect(stdout).toMatch(passes('n2', 'vxlan', 'carries'));
    expect(stdout).toMatch(/^n3 +vxlan +does not pass +0$/m);
    expect(stdout).toMatch(passes('n3', 'routed', 'carries'));
    expect(stdout).toContain(
      'note: n3 by vxlan: UDP port 4789 between 192.168.1.11, fd01::11 and 192.168.2.13, fd02::13 does not arrive, or the answer does not: open it in the firewall',
    );
    expect(status).toBe(0);
  });

  it('starts again with the way that it had chosen', { timeout: 60_000 * patience }, async () => {
    const flows = flowsOf(1000);
    await node(1).agent.stop('SIGKILL');
    node(1).agent.start();
    await node(1).agent.ready();
    expect(wayTo(1, 3).way).toBe('routed');
    expect(node(1).agent.applied).toEqual([]);
    for (const flow of flows) expect(await flow.stop()).toMatchObject({ lost: 0 });
  });

  it('goes on down the list: ipip, then WireGuard, and up again', { timeout: 900_000 }, async ({ skip }) => {
    for (const feature of ['ipip', 'ip6tnl', 'wireguard'] as const) needs({ skip }, feature, 'on demand');
    const steps = [
      { way: 'routed', before: 'vxlan', rules: ['udp dport 4789'] },
      { way: 'ipip', before: 'routed', rules: ['ip saddr 10.244.0.0/16', 'ip6 saddr fd00:244::/32'] },
      { way: 'wireguard', before: 'ipip', rules: ['meta l4proto { 4, 41 }'] },
    ];
    for (const { way, before, rules } of steps) {
      for (const rule of rules) drop(rule);
      await agreeOn(way);
      expect(wayTo(1, 3).passing).toMatchObject({ [before]: 'none', [way]: 'full' });
      expect(await fabric.unreachable('dual')).toEqual([]);
      expect(wayTo(1, 2).way).toBe('vxlan');
    }
    drop('udp dport 51820');
    await until(
      () => `nothing passes between n1 and n3: ${JSON.stringify(ways(1))}`,
      () => Object.values(wayTo(1, 3).passing).every((p) => p === 'none'),
      60_000,
    );
    expect(wayTo(1, 3).way).toBe('wireguard');
    expect(node(1).agent.get('/readyz')).toContain('no way to node \\"n3\\" passes (vxlan, routed, ipip, wireguard)');
    const { stdout } = probe(1);
    expect(stdout).toContain('problem: n3 by wireguard: UDP port 51820 between');
    expect(stdout).toMatch(/^note: n3 by ipip: IP protocol/m);
    undrop();
    drop('udp dport 4789');
    await agreeOn('routed');
    expect(await fabric.unreachable('dual')).toEqual([]);
  });

  it('comes back when that passes again for a while, and loses no packet', {
    timeout: 120_000 * patience,
  }, async () => {
    const flows = flowsOf(2000);
    undrop();
    await agreeOn('vxlan');
    for (const flow of flows) {
      const { sent, lost } = await flow.stop();
      expect(sent).toBeGreaterThanOrEqual(2000);
      expect(lost).toBe(0);
    }
    expect(await fabric.unreachable('dual')).toEqual([]);
  });

  it('stays with what lets at least small packets through, and tells how small', {
    timeout: 90_000 * patience,
  }, async () => {
    drop('meta length > 1400 udp dport 4789');
    const others = ['meta l4proto { 4, 41 }', 'udp dport 51820', 'ip saddr 10.244.0.0/16', 'ip6 saddr fd00:244::/32'];
    for (const other of others) fabric.router.exec(`nft add rule inet block forward oifname n3 ${other} drop`);
    await until(
      () => `small packets only between n1 and n3: ${JSON.stringify(ways(1))}`,
      () => wayTo(1, 3).passing['vxlan'] === 'small' && wayTo(1, 3).passing['routed'] === 'none',
      60_000,
    );
    await agreeOn('vxlan');
    expect(wayTo(1, 3).why).toBe('nothing lets packets of full size through');
    expect(await fabric.unreachable('dual')).toEqual([]);
    const { status, stdout } = probe(1);
    undrop();
    // of the 1,400 bytes 20 are the outer IP header, 8 UDP's, 8 VXLAN's and 14 the inner Ethernet header
    expect(stdout).toMatch(/^n3 +vxlan +carries +only small packets +1350$/m);
    expect(status).toBe(1);
  });
});

/** `culvert mode set`, where all nodes can be reached. */
const setMode = (mode: string): { status: number; stdout: string } =>
  fabric.router.try(`${join(binDir, 'culvert')} mode set ${mode} --file ${fabric.clusterFile}`);

describe('a mode of its own', () => {
  it('is left and taken up again while packets flow', { timeout: 120_000 * patience }, async () => {
    const flows = flowsOf(1000);
    for (const mode of ['vxlan', 'auto', 'vxlan']) expect(setMode(mode)).toMatchObject({ status: 0 });
    for (const flow of flows) expect(await flow.stop()).toMatchObject({ lost: 0 });
    expect(ways(1)).toEqual([]);
  });

  it('is probed too: what does not pass has the exit code 1', { timeout: 60_000 * patience }, () => {
    expect(probe(1)).toMatchObject({ status: 0, stdout: expect.stringMatching(passes('n3', 'vxlan', 'carries')) });
    drop('udp dport 4789');
    const { status, stdout } = probe(1);
    undrop();
    expect(stdout).toContain('problem: n3 by vxlan: UDP port 4789 between 192.168.1.11, fd01::11 and 192.168.2.13');
    expect(stdout).not.toContain('problem: n2');
    expect(status).toBe(1);
  });

  it('bgp: knocks at TCP port 179', { timeout: 60_000 * patience }, async () => {
    expect(setMode('bgp')).toMatchObject({ status: 0 });
    await node(2).agent.stop();
    birdc(node(2).host, 'down');
    drop('tcp dport 179');
    const { status, stdout } = probe(1);
    undrop();
    expect(stdout).toContain('problem: n2: nobody speaks BGP at 192.168.1.12');
    expect(stdout).toContain('problem: n3: TCP port 179 between fd01::11 and fd02::13 does not arrive');
    expect(status).toBe(1);
  });
});

describe('another host with the address of a node', () => {
  const [v4, v6] = [/another host .* has 192\.168\.1\.12, the address of this node/, /another host .* has fd01::12,/];
  const said = (msg: (line: Line) => unknown): string => node(2).agent.lines.map(msg).filter(Boolean).join('\n');

  it('is told by the node, and when it is over', { timeout: 120_000 * patience }, async () => {
    await node(2).agent.stop();
    node(2).agent.start();
    await node(2).agent.ready();
    const clone = new Host('ag-x');
    try {
      clone.exec(`ip link add name eth0 type veth peer name x netns ${fabric.router.name}`);
      fabric.router.exec('ip link set dev x master sw up');
      for (const address of ['192.168.1.12/24', 'fd01::12/64 nodad']) clone.exec(`ip addr add dev eth0 ${address}`);
      clone.exec('ip link set dev eth0 up');
      // IPv6 is asked for when the address is set, and then by the kernel
      node(2).host.exec('ip addr del fd01::12/64 dev eth0');
      node(2).host.exec('ip addr add fd01::12/64 dev eth0');
      await until(
        () => `both told: ${node(2).agent.output}`,
        () => [v4, v6].every((t) => t.test(said((l) => l.msg))),
        30_000,
      );
      expect(node(1).agent.output).not.toContain('another host');
    } finally {
      clone.remove();
    }
    node(2).host.exec('ip addr del fd01::12/64 dev eth0');
    node(2).host.exec('ip addr add fd01::12/64 dev eth0 nodad');
    const isOver = () => [v4, v6].every((t) => t.test(said((l) => l.msg === 'no longer' && l['problem'])));
    await until(() => `both over: ${node(2).agent.output}`, isOver, 30_000);
  });
});

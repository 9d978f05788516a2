import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { pinging } from '../../src/lab/pinging.ts';
import { Fabric, read, until } from '../support/agents.ts';
import { nodesOf, type Stack } from '../support/cluster.ts';
import { Sniffer } from '../support/sniffer.ts';

let fabric: Fabric;
beforeAll(() => {
  fabric = new Fabric();
});
afterEach(async () => {
  await fabric.stop();
});
afterAll(() => fabric.remove());

const node = (i: number) => fabric.nodes[i - 1]!;

describe('pods on three nodes reach each other', () => {
  const matrix: [string, object, Stack, Stack][] = [
    ['vxlan, IPv4 pods over IPv4', {}, 'v4', 'v4'],
    ['vxlan, IPv6 pods over IPv4', {}, 'v4', 'v6'],
    ['vxlan, dual stack over IPv6', {}, 'v6', 'dual'],
    ['vxlan, dual stack over dual stack', {}, 'dual', 'dual'],
    ['vxlan with direct routes, dual stack', { sameSubnet: 'direct' }, 'dual', 'dual'],
    ['routed through the gateway, dual stack', { mode: 'routed', behindRouter: 'gateway' }, 'dual', 'dual'],
    ['vxlan again', {}, 'dual', 'dual'],
  ];
  it.each(matrix)('%s', async (_name, config, underlay, pods) => {
    await fabric.start(config, underlay, pods);
    expect(await fabric.unreachable(pods)).toEqual([]);
    for (const { agent } of fabric.nodes) expect(agent.plan()).toMatchObject({ status: 0, stdout: '' });
  });
});

describe('a cluster that becomes large', () => {
  it('has its routes spread over scopes, finds nothing to do afterwards, and shrinks again', async () => {
    await fabric.start({ resyncSeconds: 30 }, 'v4', 'dual');
    const { agent, host } = node(1);
    const few = nodesOf('v4', 'dual');
    const more = Array.from({ length: 600 }, (_, i) => ({
      name: `m${i}`,
      addresses: [`172.16.${i >> 8}.${i & 255}`],
      podCIDRs: [`10.245.${i >> 2}.${(i & 3) * 64}/26`, `fd00:245:0:${i.toString(16)}::/64`],
    }));
    const routes = () => host.exec('ip -4 route show proto 67').trim().split('\n');
    const isWritten = (nodes: readonly object[]) => routes().length === nodes.length - 1 && agent.plan().status === 0;
    fabric.writeCluster(JSON.stringify({ nodes: [...few, ...more] }));
    await until('grown', () => isWritten([...few, ...more]));
    expect(new Set(routes().map((r) => /scope (\w+)/.exec(r)?.[1])).size).toBeGreaterThan(100);
    expect(await fabric.unreachable('dual')).toEqual([]);
    expect(agent.plan()).toMatchObject({ status: 0, stdout: '' });
    fabric.writeCluster(JSON.stringify({ nodes: few }));
    await until('shrunk', () => isWritten(few));
    // a scope that is there stays: among few routes any is right
    expect(agent.plan()).toMatchObject({ status: 0, stdout: '' });
    expect(await fabric.unreachable('dual')).toEqual([]);
  });
});

describe('routed without a gateway', () => {
  it('refuses nodes behind a router by name, and keeps the rest', async () => {
    await fabric.start({ mode: 'routed' }, 'v4', 'v4');
    const { problems } = JSON.parse(node(1).agent.get('/readyz')) as { problems: string[] };
    expect(problems).toEqual([
      expect.stringMatching(/node "n3" at 192\.168\.2\.13 is behind the router 192\.168\.1\.1/),
    ]);
    expect(node(1).host.exec('ip route show proto 67')).toContain('10.244.2.0/24 via 192.168.1.12 dev eth0');
    expect(node(1).host.exec('ip route show proto 67')).not.toContain('10.244.3.0/24');
  });
});

/** What tcpdump prints of packets on the node's uplink while a pod pings. */
async function capture(filter: string, target: string): Promise<string> {
  const sniffer = await Sniffer.start(node(1).host.netns, 'eth0', filter);
  spawnSync('nsenter', [`--net=${node(1).pod}`, '--', 'ping', '-c', '2', '-i', '0.2', target]);
  return sniffer.stop();
}

describe('on the wire', () => {
  it('wraps IPv6 in VXLAN with the configured port and id, between the nodes', async () => {
    await fabric.start({ vxlan: { id: 42, port: 8472 } }, 'v4', 'dual');
    const out = await capture('udp port 8472', 'fd00:244:3::5');
    expect(out).toMatch(
      /192\.168\.1\.11\.\d+ > 192\.168\.2\.13\.8472: (?:OTV|VXLAN), flags \[I\] \(0x08\).* (?:instance|vni) 42/,
    );
    expect(out).toContain('fd00:244:1::5 > fd00:244:3::5: ');
    expect(node(1).host.exec('ip -d link show culvert-vxlan')).toMatch(/mtu 1450 .* nolearning /s);
  });

  it('sends plain packets where the link is shared', async () => {
    await fabric.start({ sameSubnet: 'direct' }, 'dual', 'dual');
    expect(await capture('icmp', '10.244.2.5')).toContain('10.244.1.5 > 10.244.2.5: ICMP echo request');
  });

  it("shows the node's address outside the cluster, and the pod's own nowhere", async () => {
    await fabric.start({}, 'dual', 'dual');
    expect(await capture('icmp', '192.168.2.1')).toContain('192.168.1.11 > 192.168.2.1: ICMP echo request');
  });
});

describe('a running agent', () => {
  const count = (i: number): number => node(i).agent.applied.length;

  it('counts what it repairs', async () => {
    await fabric.start({ resyncSeconds: 30 }, 'dual', 'dual');
    const { host, agent } = node(1);
    host.exec('ip route del 10.244.2.0/24');
    await until('repaired', () => agent.lines.some((l) => l.msg === 'repaired') && agent.plan().status === 0);
    expect(agent.lines.at(-1)).toMatchObject({ msg: 'repaired', changes: { 'replace-route': 1 } });
    expect(agent.get('/metrics')).toMatch(/^culvert_repairs_total 1$/m);
  });

  it('does nothing on later passes', async () => {
    await fabric.start({ resyncSeconds: 1 }, 'dual', 'dual');
    const before = count(1);
    await new Promise((resolve) => setTimeout(resolve, 2500));
    expect(count(1)).toBe(before);
    expect(before).toBeLessThanOrEqual(1);
  });

  it('follows the MTU of the uplink', async () => {
    await fabric.start({ resyncSeconds: 30 }, 'dual', 'dual');
    node(1).host.exec('ip link set dev eth0 mtu 1400');
    await until('device follows', () => node(1).host.exec('ip link show culvert-vxlan').includes('mtu 1350'));
    await until('node file follows', () => read(node(1).host.dir, 'run/node.json').includes('"mtu": 1350'));
    node(1).host.exec('ip link set dev eth0 mtu 1500');
  });

  it('keeps the last right cluster while the file is wrong', async () => {
    await fabric.start({ resyncSeconds: 30 }, 'v4', 'v4');
    const { agent, host } = node(1);
    const nodes = nodesOf('v4', 'v4');
    fabric.writeCluster(JSON.stringify({ nodes: [...nodes, { ...nodes[1], name: 'n4' }] }));
    await until('said', () => agent.lines.some((l) => l.msg.startsWith('the cluster file is wrong')));
    expect(JSON.parse(agent.get('/readyz'))).toMatchObject({
      ready: true,
      problems: [expect.stringContaining('overlaps')],
    });
    expect(agent.get('/metrics')).toContain('culvert_cluster_source_ok 0');
    expect(host.exec('ip route show proto 67').trim().split('\n')).toHaveLength(2);
    fabric.writeCluster(JSON.stringify({ nodes: nodes.slice(0, 2) }));
    await until('one node fewer', () => host.exec('ip route show proto 67').trim().split('\n').length === 1);
    await until('no longer wrong', () => agent.get('/metrics').includes('culvert_cluster_source_ok 1'));
    expect(agent.lines.filter((l) => l.msg.startsWith('the cluster file is wrong'))).toHaveLength(1);
  });

  it('names foreign chains that drop forwarded packets, and conflists before its own', async () => {
    node(1).host.exec(
      'nft -f -',
      'table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }',
    );
    await fabric.start({}, 'v4', 'v4');
    const { dir } = node(1).host;
    expect(node(1).agent.get('/readyz')).toContain('chain ip filter FORWARD drops forwarded packets');
    writeFileSync(`${dir}/cni/05-other.conflist`, '{}');
    await until('named', () => node(1).agent.get('/readyz').includes('cni/05-other.conflist comes before ours'), 4000);
    rmSync(`${dir}/cni/05-other.conflist`);
    node(1).host.exec('nft delete table ip filter');
  });
});

describe('a restarted agent', () => {
  it.each(['SIGTERM', 'SIGKILL'] as const)('adopts what it finds after %s, and no packet is lost', async (signal) => {
    await fabric.start({}, 'dual', 'dual');
    const { agent, pod } = node(1);
    const flow = pinging(pod, '10.244.3.5');
    await flow.answers(10);
    const code = await agent.stop(signal);
    expect(code).toBe(signal === 'SIGTERM' ? 0 : null);
    agent.start();
    await agent.ready();
    await flow.answers(10);
    expect(await flow.stop()).toMatchObject({ lost: 0 });
    expect(agent.applied).toEqual([]);
  });

  it('writes the node file, then the conflist', async () => {
    await fabric.start({ attach: 'bridge' }, 'dual', 'dual');
    const { dir } = node(1).host;
    expect(JSON.parse(read(dir, 'run/node.json'))).toEqual({
      node: 'n1',
      network: 'culvert',
      mode: 'vxlan',
      attach: 'bridge',
      podCIDRs: ['10.244.1.0/24', 'fd00:244:1::/64'],
      addresses: ['192.168.1.11', 'fd01::11'],
      mtu: 1450,
      dataDir: `${dir}/leases`,
      bridge: 'culvert0',
    });
    expect(JSON.parse(read(dir, 'cni/10-culvert.conflist'))).toMatchObject({
      name: 'culvert',
      plugins: [{ type: 'culvert', nodeFile: `${dir}/run/node.json` }],
    });
  });
});

describe('an agent that cannot start', () => {
  const cases: [string, object, (nodes: ReturnType<typeof nodesOf>) => unknown, RegExp][] = [
    ['a wrong field', { mode: 'vxlam' }, (nodes) => ({ nodes }), /"path":"mode","got":"\\"vxlam\\""/],
    [
      'a missing cluster file',
      { cluster: { file: '/nowhere.yaml' } },
      (nodes) => ({ nodes }),
      /nowhere\.yaml.*no such file/,
    ],
    [
      'overlapping podCIDRs',
      {},
      ([a, b]) => ({ nodes: [a, { ...b, podCIDRs: a!.podCIDRs }] }),
      /of \\"n2\\" overlaps .* of \\"n1\\"/,
    ],
    ['a duplicate name', {}, ([a, b]) => ({ nodes: [a, { ...b, name: 'n1' }] }), /a name only once/],
    ['a node not in the file', {}, ([, b]) => ({ nodes: [b] }), /node \\"n1\\" is not in the cluster file/],
    [
      'an address on no interface',
      {},
      ([a]) => ({ nodes: [{ ...a, addresses: ['192.168.7.7'] }] }),
      /no interface of this host has 192\.168\.7\.7/,
    ],
    [
      'an address to listen on that is not there',
      { listen: '192.0.2.1:1' },
      (nodes) => ({ nodes }),
      /cannot serve on 192\.0\.2\.1:1/,
    ],
  ];
  it.each(cases)('says why: %s', async (_name, config, cluster, message) => {
    const { agent } = node(1);
    fabric.writeCluster(JSON.stringify(cluster(nodesOf('v4', 'v4'))));
    agent.configure(config, fabric.clusterFile);
    expect(await agent.toEnd()).toBe(1);
    const errors = agent.lines.filter((l) => l.level === 'error');
    expect(errors).toHaveLength(1);
    expect(JSON.stringify(errors[0])).toMatch(message);
  });

  it("names another's link in the way", async () => {
    const { agent, host } = node(1);
    host.try('ip link del culvert-vxlan');
    host.exec('ip link add name culvert-vxlan type bridge');
    fabric.writeCluster(JSON.stringify({ nodes: nodesOf('v4', 'v4') }));
    agent.configure({}, fabric.clusterFile);
    expect(await agent.toEnd()).toBe(1);
    expect(agent.output).toContain('a link named culvert-vxlan exists and is not ours (bridge');
    host.exec('ip link del culvert-vxlan');
  });

  it('answers 2 to wrong usage', () => {
    expect(node(1).host.try(`${process.cwd()}/dist/bin/culvert agent --confg x`).status).toBe(2);
  });
});

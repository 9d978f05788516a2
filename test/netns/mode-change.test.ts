/** A mode changed while packets flow: nothing is lost, a connection goes on, and agents that die in any step do no harm. */

import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Fabric, patience, read, until } from '../support/agents.ts';
import { needs } from '../support/case.ts';
import { type Flow, pings, tcpStream } from '../support/flow.ts';
import { binDir } from '../support/netns.ts';
import { type Feature, lacking } from '../support/suite.ts';
import { endBirds } from '../support/top-of-rack.ts';

interface Traffic {
  name: string;
  args: string[];
  needs: Feature[];
}

const traffics: Traffic[] = [
  { name: 'vxlan', args: ['vxlan', '--same-subnet', 'tunnel'], needs: [] },
  { name: 'vxlan, direct in one subnet', args: ['vxlan', '--same-subnet', 'direct'], needs: [] },
  { name: 'routed', args: ['routed', '--same-subnet', 'tunnel'], needs: [] },
  { name: 'bgp', args: ['bgp', '--same-subnet', 'tunnel'], needs: [] },
  { name: 'ipip', args: ['ipip', '--same-subnet', 'tunnel'], needs: ['ipip', 'ip6tnl'] },
  { name: 'wireguard', args: ['wireguard', '--same-subnet', 'tunnel'], needs: ['wireguard'] },
];

let fabric: Fabric;
const node = (i: number) => fabric.nodes[i - 1]!;

beforeAll(async () => {
  fabric = new Fabric();
  const agent = { mode: 'vxlan', behindRouter: 'gateway', listen: '[::]:9467' };
  const keyed = lacking('wireguard') === undefined;
  await fabric.start(agent, 'dual', 'dual', (i) => (keyed ? { publicKey: node(i).agent.publicKey } : {}));
});
afterAll(async () => {
  await fabric.stop();
  await endBirds(fabric);
  fabric.remove();
});

/** `culvert mode …`, run where all nodes can be reached. */
class ModeRun {
  output = '';
  readonly process: ChildProcess;
  readonly ended: Promise<number | null>;

  constructor(args: readonly string[], timeoutSeconds = 20) {
    const more = args[0] === 'set' ? ['--timeout', String(Math.ceil(timeoutSeconds * patience))] : [];
    const argv = [join(binDir, 'culvert'), 'mode', ...args, '--file', fabric.clusterFile, ...more];
    this.process = spawn('nsenter', [`--net=${fabric.router.netns}`, '--', ...argv]);
    for (const stream of [this.process.stdout!, this.process.stderr!]) {
      stream.on('data', (chunk: Buffer) => {
        this.output += chunk.toString();
      });
    }
    this.ended = new Promise((resolve) => this.process.once('close', resolve));
  }

  reaches(text: string): Promise<void> {
    return until(
      () => `"${text}" in ${this.output}`,
      () => this.output.includes(text),
      30_000,
    );
  }
}

async function mode(...args: string[]): Promise<{ status: number | null; output: string }> {
  const run = new ModeRun(args);
  return { status: await run.ended, output: run.output };
}

async function set(traffic: Traffic): Promise<void> {
  expect(await mode('set', ...traffic.args)).toMatchObject({ status: 0 });
}

/** One packet stream per family to a pod on the same link and to one behind the router. */
const allPings = (count: number): Flow<{ sent: number; lost: number }>[] =>
  ['10.244.2.5', '10.244.3.5', 'fd00:244:2::5', 'fd00:244:3::5'].map((address) => pings(node(1).pod, address, count));

async function expectNoneLost(flows: Flow<{ sent: number; lost: number }>[], count: number): Promise<void> {
  const totals = await Promise.all(flows.map((f) => f.stop()));
  for (const total of totals) expect(total.sent).toBeGreaterThanOrEqual(count);
  expect(totals.map((t) => t.lost)).toEqual(totals.map(() => 0));
}

const pairs = traffics.flatMap((from) => traffics.filter((to) => to !== from).map((to) => ({ from, to })));

describe('every mode to every other: 5,000 packets to each of four pods, none lost', () => {
  for (const { from, to } of pairs) {
    it(`${from.name} → ${to.name}`, { timeout: 180_000 }, async (context) => {
      for (const feature of [...from.needs, ...to.needs]) needs(context, feature, 'on demand');
      await set(from);
      const flows = allPings(5000);
      await set(to);
      await expectNoneLost(flows, 5000);
      expect(await fabric.unreachable('dual')).toEqual([]);
      for (const { agent } of fabric.nodes) expect(agent.plan()).toMatchObject({ status: 0, stdout: '' });
    });
  }
});

const [vxlan, direct, routed] = traffics as [Traffic, Traffic, Traffic];

describe('a connection with full-size segments', () => {
  // these pods have links of 1,500 bytes: a tunnel has less room, and they have to hear of it
  it.each(['10.244.3.5', 'fd00:244:3::5'])(
    'to %s goes on unbroken through every change',
    { timeout: 120_000 },
    async (address) => {
      await set(routed);
      const stream = await tcpStream(node(1).pod, node(3).pod, address);
      for (const traffic of [vxlan, direct, vxlan, routed, direct, routed]) await set(traffic);
      const { sent, received } = await stream.stop();
      expect(received).toBe(sent);
      expect(Number(sent.split(' ')[0])).toBeGreaterThan(1_000_000);
    },
  );
});

describe('an agent killed in a step', () => {
  it.each(['accept', 'switch', 'done'])(
    '%s, and started again: the change completes',
    { timeout: 90_000 },
    async (phase) => {
      await set(vxlan);
      const flows = allPings(1000);
      const run = new ModeRun(['set', ...routed.args]);
      await run.reaches(`${phase}:`);
      await node(2).agent.stop('SIGKILL');
      node(2).agent.start();
      expect(await run.ended, run.output).toBe(0);
      await expectNoneLost(flows, 1000);
      expect(await mode('show')).toMatchObject({ status: 0, output: expect.stringContaining('n2: routed; MTU ') });
    },
  );

  it.each(['accept', 'switch'])(
    '%s, and not started again: the change is taken back',
    { timeout: 90_000 },
    async (phase) => {
      await set(vxlan);
      const flows = allPings(1000);
      const run = new ModeRun(['set', ...routed.args], 4);
      // the step before is confirmed by then, so the agent misses this one or the next
      await run.reaches(`${phase}:`);
      await node(2).agent.stop('SIGKILL');
      expect(await run.ended, run.output).toBe(1);
      expect(run.output).toContain('back to vxlan');
      expect(run.output).toMatch(/n2: does not answer at .*refused; its agent is down/);
      node(2).agent.start();
      await node(2).agent.ready();
      await set(vxlan);
      await expectNoneLost(flows, 1000);
      expect(read(fabric.clusterFile)).toContain('"traffic": {"mode":"vxlan","sameSubnet":"tunnel"}');
    },
  );

  it('after the switch: nobody is left behind, and the rest is done when it is back', { timeout: 90_000 }, async () => {
    await set(vxlan);
    const flows = allPings(1000);
    const run = new ModeRun(['set', ...routed.args], 4);
    const isSwitched = () => /switch:[\s\S]*3 of 3/.test(run.output);
    await until(() => `all switched in ${run.output}`, isSwitched, 30_000);
    await node(2).agent.stop('SIGKILL');
    expect(await run.ended, run.output).toBe(1);
    expect(run.output).toContain('every node carries routed');
    node(2).agent.start();
    await node(2).agent.ready();
    await set(routed);
    await expectNoneLost(flows, 1000);
  });
});

describe('a command killed in a step', () => {
  it.each([
    { phase: 'accept', target: routed },
    { phase: 'accept', target: vxlan },
    { phase: 'switch', target: routed },
    { phase: 'switch', target: vxlan },
  ])('$phase: the next one goes to $target.name', { timeout: 90_000 }, async ({ phase, target }) => {
    await set(vxlan);
    const flows = allPings(1000);
    const run = new ModeRun(['set', ...routed.args]);
    await run.reaches(`${phase}:`);
    run.process.kill('SIGKILL');
    await run.ended;
    await set(target);
    await expectNoneLost(flows, 1000);
    expect(await mode('show')).toMatchObject({
      status: 0,
      output: expect.stringContaining(`n1: ${target.name}; MTU `),
    });
  });
});

describe('a change that cannot work', () => {
  it('is taken back when nodes do not reach each other the new way', { timeout: 60_000 }, async () => {
    await set(routed);
    const flows = allPings(1000);
    node(3).host.exec('nft add table inet block');
    node(3).host.exec('nft add chain inet block in { type filter hook input priority filter ; }');
    node(3).host.exec('nft add rule inet block in udp dport 4789 drop');
    const run = new ModeRun(['set', ...vxlan.args], 4);
    expect(await run.ended, run.output).toBe(1);
    expect(run.output).toMatch(/n1: no answer the other way from n3 at 10\.244\.3\.0/);
    node(3).host.exec('nft delete table inet block');
    await expectNoneLost(flows, 1000);
    expect(await mode('show')).toMatchObject({ status: 0, output: expect.stringContaining('n1: routed; MTU ') });
  });

  it('is not begun without all keys, nor while another one is under way', { timeout: 60_000 }, async () => {
    const before = read(fabric.clusterFile);
    fabric.writeCluster(JSON.stringify({ ...JSON.parse(before), nodes: fabric.cluster({}, 'dual', 'dual') }));
    expect(await mode('set', 'wireguard')).toMatchObject({
      status: 1,
      output: expect.stringContaining('no publicKey in the cluster file for n1, n2, n3; run "culvert keys" on each'),
    });
    const underWay = { mode: 'vxlan', sameSubnet: 'tunnel', alsoAccept: { mode: 'routed', sameSubnet: 'tunnel' } };
    fabric.writeCluster(JSON.stringify({ ...JSON.parse(before), traffic: underWay }));
    expect(await mode('set', 'ipip')).toMatchObject({
      status: 1,
      output: expect.stringContaining('a change between vxlan and routed is under way'),
    });
    fabric.writeCluster(before);
  });
});

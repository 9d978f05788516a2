/**
 * Many BIRDs with the configurations of the planner, each a node in a namespace of its own, on one link. CULVERT_BIRDS says how
 * many; above 50 nobody is labelled, and the reflectors are those that all choose.
 */

import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ViewDecoder } from '../../src/cluster/view.ts';
import { meshLimit } from '../../src/plan/bgp.ts';
import { planNode } from '../../src/plan/node.ts';
import type { HostFacts } from '../../src/plan/underlay.ts';
import { until } from '../support/agents.ts';
import { settings } from '../support/cluster.ts';
import { Host, run } from '../support/netns.ts';

const count = Number(process.env['CULVERT_BIRDS'] ?? 10);
const patienceMs = Number(process.env['CULVERT_PATIENCE'] ?? 1) * 60_000;

const nodes = Array.from({ length: count }, (_, i) => ({
  name: `n${i + 1}`,
  addresses: [`192.168.1.${i + 11}`, `fd01::${i + 11}`],
  podCIDRs: [`10.244.${i + 1}.0/24`, `fd00:244:${i + 1}::/64`],
  ...(count <= meshLimit && i < 2 && { routeReflector: true }),
}));
const view = new ViewDecoder().decode({ nodes });

/** A node's host as the agent would read it. */
const factsOf = (i: number): HostFacts => ({
  links: [{ name: 'eth0', make: { kind: 'given' }, mtu: 1500 }],
  addresses: [
    { dev: 'eth0', address: `192.168.1.${i + 11}/24` },
    { dev: 'eth0', address: `fd01::${i + 11}/64` },
  ],
  routes: [],
  hasIpv6: true,
  strict: [],
  advertised: [],
});

interface Node {
  netns: string;
  dir: string;
  sessions: number;
}

let fabric: Host;
const members: Node[] = [];

function addNode(i: number): Node {
  const netns = fabric.pod('n');
  const name = netns.split('/').at(-1)!;
  const lines = [`link add name p${i} type veth peer name eth0 netns ${name}`, `link set dev p${i} master sw up`];
  fabric.exec('ip -batch -', `${lines.join('\n')}\n`);
  const inside = [
    'link set dev lo up',
    `address add 192.168.1.${i + 11}/24 dev eth0`,
    `address add fd01::${i + 11}/64 dev eth0 nodad`,
    'link set dev eth0 up',
  ];
  run(['ip', '-n', name, '-batch', '-'], `${inside.join('\n')}\n`);
  const plan = planNode(view, { ...settings, mode: 'bgp', node: `n${i + 1}` }, factsOf(i));
  const dir = join(fabric.dir, name);
  mkdirSync(dir);
  writeFileSync(join(dir, 'bird.conf'), plan.bgp!.configuration);
  return { netns, dir, sessions: plan.bgp!.sessions.length };
}

const pidOf = ({ dir }: Node): number => Number(readFileSync(join(dir, 'bird.pid'), 'utf8'));

function start({ netns, dir }: Node): Promise<void> {
  const files = ['-c', 'bird.conf', '-s', 'bird.ctl', '-P', 'bird.pid'].map((w) =>
    w.startsWith('-') ? w : join(dir, w),
  );
  const child = spawn('nsenter', [`--net=${netns}`, '--', 'bird', ...files], { stdio: 'inherit' });
  return new Promise((resolve, reject) =>
    child.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`bird: exit ${code}`)))),
  );
}

/** Every podCIDR of the cluster is in this node's kernel, its own as unreachable. */
const isComplete = ({ netns }: Node): boolean =>
  ['-4', '-6'].every((family) => {
    const out = run(['nsenter', `--net=${netns}`, '--', 'ip', family, 'route', 'show', 'proto', 'bird']);
    return out.split('\n').filter((l) => l.includes('244')).length === count;
  });

beforeAll(() => {
  fabric = new Host('rr');
  fabric.exec('ip link add name sw type bridge');
  fabric.exec('ip link set dev sw up');
  for (let i = 0; i < count; i++) members.push(addNode(i));
});

afterAll(() => {
  for (const member of members) {
    try {
      process.kill(pidOf(member), 'SIGTERM');
    } catch {
      // it never started
    }
  }
  fabric.remove();
});

describe(`${count} BIRDs behind route reflectors`, () => {
  it('come to know every podCIDR of the cluster', async ({ task }) => {
    const began = performance.now();
    await Promise.all(members.map(start));
    const started = performance.now();
    for (const member of members) await until('all routes', () => isComplete(member), patienceMs);
    const sessions = members.reduce((sum, m) => sum + m.sessions, 0) / 2;
    const [all, converged] = [performance.now() - began, performance.now() - started].map((ms) =>
      (ms / 1000).toFixed(1),
    );
    console.log(
      `${task.name}: ${all} s from the first start, ${converged} s from the last; about ${sessions} sessions`,
    );
    const reflectors = members.filter((m) => m.sessions === 2 * (count - 1));
    expect(reflectors).toHaveLength(count <= meshLimit ? 2 : 3);
  });

  it('lose no route when a reflector dies', async () => {
    const reflector = members.find((m) => m.sessions === 2 * (count - 1))!;
    process.kill(pidOf(reflector), 'SIGKILL');
    const others = members.filter((m) => m !== reflector);
    await new Promise((resolve) => setTimeout(resolve, 2000));
    for (const member of others) expect(isComplete(member)).toBe(true);
  });
});

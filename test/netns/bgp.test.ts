/** Mode bgp with real BIRDs: nodes in two racks, and a router between that learns and tells. What a death of each part costs. */

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Speaker } from '../../src/agent/speaker.ts';
import { type Pings, pinging } from '../../src/lab/pinging.ts';
import { Fabric, until } from '../support/agents.ts';
import { Sniffer } from '../support/sniffer.ts';
import { birdc, birdPid, endBirds, rackOf, routerPeers, TopOfRack } from '../support/top-of-rack.ts';

let fabric: Fabric;
let router: TopOfRack;
beforeAll(() => {
  fabric = new Fabric();
  router = new TopOfRack(fabric.router);
});
afterEach(async () => {
  await fabric.stop();
  await endBirds(fabric);
});
afterAll(() => fabric.remove());

const node = (i: number) => fabric.nodes[i - 1]!;
const config = { mode: 'bgp', bgp: { peers: routerPeers } };
const shown = (i: number, what = 'proto bird'): string =>
  node(i).host.exec(`ip route show ${what}`) + node(i).host.exec(`ip -6 route show ${what}`);
const problemsOf = (i: number): string[] =>
  (JSON.parse(node(i).agent.get('/readyz')) as { problems: string[] }).problems;

async function startRacks(): Promise<void> {
  router.start();
  await fabric.start(config, 'dual', 'dual', rackOf);
  await until('routes', () => [1, 2, 3].every((i) => shown(i).match(/ via /g)!.length >= 4 + 2), 30_000);
}

/** Pings from n1's pod before something happens, meanwhile, and after it. */
async function pingsDuring(target: string, work: () => Promise<void>): Promise<Pings> {
  const flow = pinging(node(1).pod, target);
  await flow.answers(10);
  await work();
  await flow.answers(100);
  return flow.stop();
}

describe('two racks and the router between them', () => {
  it('carry pods to pods under their own addresses, in both families', async () => {
    await startRacks();
    expect(await fabric.unreachable('dual')).toEqual([]);
    expect(shown(1)).toContain('10.244.2.0/24 via 192.168.1.12 dev eth0');
    expect(shown(1)).toContain('10.244.3.0/24 via 192.168.1.1 dev eth0');
    expect(shown(1)).toContain('fd00:244:3::/64 via fd01::1 dev eth0');
    const sniffer = await Sniffer.start(fabric.router.netns, 'n3', 'icmp or icmp6');
    for (const target of ['10.244.3.5', 'fd00:244:3::5']) {
      run1(`ping -c 2 -i 0.2 ${target}`);
    }
    const seen = await sniffer.stop();
    expect(seen).toMatch(/10\.244\.1\.5 > 10\.244\.3\.5: ICMP echo request/);
    expect(seen).toMatch(/fd00:244:1::5 > fd00:244:3::5: .*ICMP6, echo request/);
  });

  it('answer "unreachable" for a pod address that no pod has, where it belongs', async () => {
    await startRacks();
    const { stdout } = run1('ping -c 1 -W 2 10.244.3.77', false);
    expect(stdout).toMatch(/From 192\.168\.2\.13 .*Destination Host Unreachable/);
  });

  it('show sessions, prefixes and nothing to plan', async () => {
    await startRacks();
    const { agent } = node(1);
    await until('metrics', () => agent.get('/metrics').includes('culvert_bgp_session_up{peer="n2",family="ipv4"} 1'));
    const metrics = agent.get('/metrics');
    expect(metrics).toContain('culvert_bgp_session_up{peer="fd01::1",family="ipv6"} 1');
    expect(metrics).toContain('culvert_bgp_prefixes_exported{peer="192.168.1.1",family="ipv4"} 1');
    // the default route and n3's podCIDR
    expect(metrics).toContain('culvert_bgp_prefixes_imported{peer="192.168.1.1",family="ipv4"} 2');
    expect(agent.plan()).toMatchObject({ status: 0, stdout: '' });
    expect(problemsOf(1)).toEqual([]);
  });

  it('forget a node that leaves the cluster, and learn it again', async () => {
    await startRacks();
    const all = fabric.cluster(config, 'dual', 'dual', rackOf);
    for (const gone of [2, 3]) {
      fabric.writeCluster(JSON.stringify({ nodes: all.filter((_, i) => i !== gone - 1) }));
      const pods = [`10.244.${gone}.0/24`, `fd00:244:${gone}::/64`];
      await until(`n${gone} is forgotten`, () => !pods.some((p) => shown(1).includes(p)), 20_000);
      fabric.writeCluster(JSON.stringify({ nodes: all }));
      await until(`n${gone} is back`, () => pods.every((p) => shown(1).includes(p)), 20_000);
    }
    // the plan says what changes
    await node(1).agent.stop();
    fabric.writeCluster(JSON.stringify({ nodes: all.slice(0, 2) }));
    const { status, stdout } = node(1).agent.plan();
    expect(status).toBe(1);
    expect(stdout).toContain('# -       if net ~ [ 10.244.3.0/24 ] then accept;');
    expect(stdout).toMatch(/^birdc -s \S+ configure$/m);
  });

  it('carry nodes of an AS of their own', async () => {
    const as = (i: number) => 64_600 + i;
    router.start(as);
    await fabric.start(config, 'dual', 'dual', (i) => ({ ...rackOf(i), as: as(i) }));
    await until('routes', () => shown(1).includes('10.244.2.0/24') && shown(1).includes('10.244.3.0/24'), 30_000);
    await until('pings', () => run1('ping -c 1 -W 1 10.244.3.5', false).status === 0, 20_000);
    expect(await fabric.unreachable('dual')).toEqual([]);
    expect(birdc(node(1).host, 'show route 10.244.2.0/24 all')).toContain('BGP.as_path: 64602');
  });
});

function run1(line: string, mustWork = true): { status: number; stdout: string } {
  const ran = node(1).host.try(`nsenter --net=${node(1).pod} -- ${line}`);
  if (mustWork) expect(ran.status, ran.stdout).toBe(0);
  return ran;
}

describe('what dies and comes back', () => {
  it('an agent: no packet is lost, and BIRD is the same', async () => {
    await startRacks();
    const bird = birdPid(node(1).host);
    const { lost } = await pingsDuring('10.244.3.5', async () => {
      for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
        await node(1).agent.stop(signal);
        node(1).agent.start();
        await node(1).agent.ready();
        expect(node(1).agent.applied).toEqual([]);
      }
    });
    expect(lost).toBe(0);
    expect(birdPid(node(1).host)).toBe(bird);
  });

  it('BIRD: it is started again, its neighbours keep the routes, no packet is lost', async () => {
    await startRacks();
    const { agent, host } = node(1);
    const before = birdPid(host);
    const { lost } = await pingsDuring('10.244.3.5', async () => {
      process.kill(before, 'SIGKILL');
      await until('another BIRD', () => existsSync(`/proc/${birdPid(host)}`) && birdPid(host) !== before);
      await until('sessions', () => (birdc(host, 'show protocols').match(/Established/g) ?? []).length === 4, 40_000);
    });
    expect(lost).toBe(0);
    expect(agent.lines.map((l) => l.msg)).toContain('BIRD ended; starting it again');
    expect(agent.lines).toContainEqual(expect.objectContaining({ msg: 'started BIRD', recovering: true }));
  });

  it('a node that is cut off: BFD notices within two seconds', async () => {
    await fabric.start({ mode: 'bgp', bgp: { bfd: true } }, 'dual', 'dual');
    const { host } = node(1);
    await until('BFD is up', () => (birdc(host, 'show bfd sessions').match(/ Up /g) ?? []).length === 2, 20_000);
    fabric.router.exec('ip link set dev n2 down');
    try {
      await until('n2 is gone', () => !/244[.:]2[.:]/.test(shown(1)), 4000);
    } finally {
      fabric.router.exec('ip link set dev n2 up');
    }
    await until('n2 is back', () => shown(1).includes('10.244.2.0/24'), 40_000);
  });

  it('a route that somebody deletes', async () => {
    await startRacks();
    node(1).host.exec('ip route del 10.244.3.0/24');
    await until('the route is back', () => shown(1).includes('10.244.3.0/24'), 3000);
  });
});

describe('another mode', () => {
  it('takes over and hands over without a packet lost', async () => {
    const racks = { ...config, behindRouter: 'gateway' };
    router.start();
    await fabric.start({ ...racks, mode: 'routed' }, 'dual', 'dual', rackOf);
    const switchTo = async (mode: string): Promise<void> => {
      for (const { agent } of fabric.nodes) {
        agent.configure({ resyncSeconds: 2, ...racks, mode }, fabric.clusterFile);
        await agent.stop();
        agent.start();
      }
      await Promise.all(fabric.nodes.map(({ agent }) => agent.ready()));
      await until(`only ${mode}`, () => fabric.nodes.every(({ agent }) => agent.plan().status === 0), 30_000);
    };
    const { lost } = await pingsDuring('10.244.2.5', async () => {
      await switchTo('bgp');
      expect(shown(1, 'proto 67').match(/ via /g)).toBeNull();
      await switchTo('routed');
      expect(shown(1)).toBe('');
    });
    expect(lost).toBe(0);
    expect(existsSync(join(node(1).host.dir, 'run/bird.ctl'))).toBe(false);
    // from and to a tunnel the packets between change their form, so not without a loss; but nothing of either is left
    await switchTo('vxlan');
    await switchTo('bgp');
    expect(node(1).host.try('ip link show culvert-vxlan').status).not.toBe(0);
    expect(await fabric.unreachable('dual')).toEqual([]);
  });
});

describe('what stands in the way is named', () => {
  const password = (i: number, text: string): string => {
    const file = join(node(i).host.dir, 'bgp.password');
    writeFileSync(file, `${text}\n`, { mode: 0o600 });
    return file;
  };

  async function startWithPasswords(texts: readonly (string | undefined)[]): Promise<void> {
    await fabric.start({ mode: 'vxlan' }, 'v4', 'v4');
    await fabric.stop();
    for (const [i, { agent }] of fabric.nodes.entries()) {
      const text = texts[i];
      const bgp = text === undefined ? {} : { passwordFile: password(i + 1, text) };
      agent.configure({ mode: 'bgp', resyncSeconds: 2, bgp }, fabric.clusterFile);
      agent.start();
    }
  }

  it('a password that differs, which then is nowhere in log or plan', async () => {
    await startWithPasswords(['right', 'wr0ng', 'right']);
    const wanted = `BGP session to node "n2" at 192.168.1.12 is down: the password in ${node(1).host.dir}/bgp.password is not that of the other side`;
    await until('it says so', () => node(1).agent.lines.some((l) => l.msg === wanted), 40_000);
    expect(problemsOf(1)).toContain(wanted);
    expect(node(1).agent.output).not.toContain('right');
    password(2, 'right');
    await until('it is mended', () => node(1).agent.lines.some((l) => l['problem'] === wanted), 40_000);
    await until('the route', () => shown(1).includes('10.244.2.0/24'), 10_000);
  });

  it('a password on one side only', async () => {
    await startWithPasswords(['right', undefined, 'right']);
    const words = 'the other side uses a password; set passwordFile';
    await until('it says so', () => node(2).agent.output.includes(words), 40_000);
  });

  it('a password file that is not there, or open to others', async () => {
    await startWithPasswords(['right', 'right', 'right']);
    await node(1).agent.ready();
    node(1).host.exec(`chmod 644 ${node(1).host.dir}/bgp.password`);
    await until('it says so', () => node(1).agent.output.includes('a file for its owner only: chmod 600'), 20_000);
    node(1).host.exec(`rm ${node(1).host.dir}/bgp.password`);
    await until('it says so', () => node(1).agent.output.includes('no such file, want a password on one line'), 20_000);
  });

  it('a configuration that BIRD refuses: it goes on with the one before', async () => {
    await startRacks();
    await node(1).agent.stop();
    const said: string[] = [];
    const speaker = new Speaker({
      run: join(node(1).host.dir, 'run'),
      exec: () => Promise.reject(new Error('BIRD runs: nothing is to be started')),
      registry: new Registry(),
      log: (_level, msg) => said.push(msg),
      changed: () => {},
    });
    const plan = { configuration: 'nonsense\n', sessions: [], missing: [], hasRoutes: true };
    expect(await speaker.ensure(plan)).toEqual([
      expect.stringMatching(
        /^BIRD: the configuration is refused, the last right one stays: .*bird\.conf\.next:1:1 syntax error/s,
      ),
    ]);
    expect(said).toEqual([]);
    expect(shown(1)).toContain('10.244.3.0/24');
    node(1).agent.start();
    await node(1).agent.ready();
    expect(node(1).agent.plan()).toMatchObject({ status: 0, stdout: '' });
  });

  it('another speaker on the port', async () => {
    const { host, agent } = node(1);
    const file = join(host.dir, 'other.conf');
    writeFileSync(
      file,
      'router id 1.1.1.1; protocol device {} protocol bgp { local 192.168.1.11 as 1; neighbor 192.168.1.99 as 2; ipv4 { import none; export none; }; }',
    );
    host.exec(`bird -c ${file} -s ${host.dir}/other.ctl -P ${host.dir}/other.pid`);
    try {
      await startWithPasswords([]);
      await until(
        'it says so',
        () => agent.output.includes('TCP port 179 is taken: stop the other BGP speaker'),
        40_000,
      );
    } finally {
      host.exec(`birdc -s ${host.dir}/other.ctl down`);
    }
  });

  it('a router that is not there, and a node behind a router that nobody asked', async () => {
    fabric.writeCluster(JSON.stringify({ nodes: fabric.cluster(config, 'dual', 'dual', rackOf) }));
    for (const { agent } of fabric.nodes) {
      agent.configure({ resyncSeconds: 2, ...config }, fabric.clusterFile);
      agent.start();
    }
    await until('ready all the same', () => node(1).agent.lines.some((l) => l.msg === 'ready'), 30_000);
    await until(
      'the router is named',
      () => problemsOf(1).some((p) => p.startsWith('BGP session to router 192.168.1.1')),
      30_000,
    );
    expect(problemsOf(1)).toContainEqual(expect.stringContaining('no BGP route to node "n3": 10.244.3.0/24'));
    await fabric.stop();
    await fabric.start({ mode: 'bgp' }, 'dual', 'dual');
    expect(problemsOf(1)).toContainEqual(
      expect.stringMatching(/node "n3" at 192\.168\.2\.13 is behind the router .* bgp\.peers/),
    );
  });
});

/** A link between two subnets becomes narrow, with routers that say so and with a black hole: running pods' packets get through. */

import { spawn } from 'node:child_process';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Fabric, read, until } from '../support/agents.ts';
import { tcpStream } from '../support/flow.ts';
import { inside, run } from '../support/netns.ts';

let fabric: Fabric;
beforeAll(() => {
  fabric = new Fabric();
});
afterEach(async () => {
  setLink(1500);
  speak();
  await fabric.stop();
});
afterAll(() => fabric.remove());

const node = (i: number) => fabric.nodes[i - 1]!;
const families = [
  { family: '-4', target: '10.244.3.5', headers: 28, route: '10.244.3.0/24' },
  { family: '-6', target: 'fd00:244:3::5', headers: 48, route: 'fd00:244:3::/64' },
] as const;

/** The router's link to n3. What n3 sends is too long for its other end (and four more, for a VLAN tag) and dropped there without a word. */
const setLink = (mtu: number): void => void fabric.router.exec(`ip link set dev n3 mtu ${mtu}`);

/** The router neither says that packets are too long nor passes them on in pieces. */
function silence(): void {
  fabric.router.exec(
    'nft -f -',
    `table inet hole {
  chain out { type filter hook output priority 0; icmp type destination-unreachable drop; icmpv6 type packet-too-big drop; }
  chain pieces { type filter hook postrouting priority 500; ip frag-off & 0x3fff != 0 ip frag-off & 0x4000 == 0 drop; }
}`,
  );
}
const speak = (): void => void fabric.router.try('nft delete table inet hole');

/** Whether a packet of so many bytes gets from n1's running pod to n3's, whole and without the pod hearing that it is too long. */
const passes = (mtu: number, { target, headers }: (typeof families)[number]): boolean => {
  const words = `ping -nq -c 3 -i 0.2 -W 1 -M do -s ${mtu - headers} ${target}`;
  return node(1).host.try(`nsenter --net=${node(1).pod} -- ${words}`).status === 0;
};

const routeMtu = (i: number, family: string, route: string): number | undefined => {
  const text = node(i).host.exec(`ip ${family} route show ${route}`);
  const mtu = /\bmtu (\d+)/.exec(text)?.[1];
  return mtu === undefined ? undefined : Number(mtu);
};

const routeMtus = (): (number | undefined)[] => families.map((f) => routeMtu(1, f.family, f.route));

/** Pods keep what they were told for ten minutes, and so do nodes: the kernel's mtu_expires. Here that time is over at once. */
function forget(): void {
  for (const netns of [node(1).host.netns, node(3).host.netns, node(1).pod, node(3).pod]) {
    for (const family of ['-4', '-6']) run(inside(netns, `ip ${family} route flush cache`));
  }
}

const cases = [
  { mode: 'vxlan', by: 'a black hole', begin: silence, left: 1350, whole: 1450 },
  { mode: 'routed', by: 'a router that says so', begin: () => {}, left: 1400, whole: 1500 },
];

describe.each(cases)('$mode', ({ mode, by, begin, left, whole }) => {
  it(`running pods follow a path that becomes narrow and wide again: ${by}`, async () => {
    await fabric.start({ mode, behindRouter: 'gateway', pathMtu: { everySeconds: 1 } }, 'dual', 'dual');
    await wide(whole);
    const stream = await tcpStream(node(1).pod, node(3).pod, '10.244.3.5');
    begin();
    setLink(1400);
    await until(
      () => `routes to n3 have ${left}: ${routeMtus()}, ${node(1).agent.output}`,
      () => routeMtus().every((mtu) => mtu === left),
      40_000,
    );
    // the way back, too
    const back = () => routeMtu(3, '-4', '10.244.1.0/24') ?? 0;
    await until('n3 knows', () => back() >= left && back() <= left + 4, 40_000);
    for (const f of families) {
      await until(`${left} to ${f.target}`, () => passes(left, f));
      expect(passes(left + 1, f), `${left + 1} to ${f.target}`).toBe(false);
    }
    // to others nothing has changed
    expect(routeMtu(1, '-4', '10.244.2.0/24')).toBeUndefined();
    expect(node(1).agent.plan()).toMatchObject({ status: 0, stdout: '' });
    // a pod made now on n3, where every path is narrow, begins with what gets through; on n1 there is a wider one
    await until('node.json', () => mtuOf(3) === back(), 40_000);
    expect(mtuOf(1)).toBe(whole);
    // and a connection made now begins with segments that fit: n3's pod hears of them though n1's own link says 1500
    expect(await offered()).toBe(left - 40);
    const { sent, received } = await stream.stop();
    expect(received).toBe(sent);
    setLink(1500);
    await wide(whole);
  });
});

/** Waits until nothing is left of a narrow path. */
async function wide(mtu: number): Promise<void> {
  const isWide = () => [...routeMtus(), routeMtu(3, '-4', '10.244.1.0/24')].every((m) => m === undefined);
  await until(
    () => `wide again: ${node(1).agent.output}`,
    () => {
      forget();
      return isWide() && [1, 3].every((i) => mtuOf(i) === mtu);
    },
    40_000,
  );
  forget();
  for (const f of families) expect(passes(mtu, f), `${mtu} to ${f.target}`).toBe(true);
}

const mtuOf = (i: number): number => (JSON.parse(read(node(i).host.dir, 'run/node.json')) as { mtu: number }).mtu;

/** The maximum segment size that n3's pod is told by a connection of n1's pod. */
async function offered(): Promise<number> {
  const argv = inside(node(3).pod, 'timeout 10 tcpdump -nlvi eth0 -c 1 dst port 7001 and tcp[tcpflags]&tcp-syn!=0');
  const dump = spawn(argv[0]!, argv.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [dump.stdout, dump.stderr]) stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const ended = new Promise((resolve) => dump.once('close', resolve));
  await until('tcpdump listens', () => text.includes('listening on'));
  node(1).host.try(`nsenter --net=${node(1).pod} -- curl -s -m 2 http://10.244.3.5:7001/`);
  await ended;
  return Number(/\bmss (\d+)/.exec(text)?.[1]);
}

describe('an agent started again', () => {
  it('goes by what was measured before, and changes nothing', async () => {
    setLink(1400);
    await fabric.start({ mode: 'vxlan', pathMtu: { everySeconds: 1 } }, 'v4', 'v4');
    const { agent } = node(1);
    await until('measured', () => routeMtu(1, '-4', '10.244.3.0/24') === 1350, 40_000);
    await agent.stop('SIGKILL');
    agent.start();
    await agent.ready();
    expect(agent.applied).toEqual([]);
    expect(routeMtu(1, '-4', '10.244.3.0/24')).toBe(1350);
  });

  it('with pathMtu off goes by its own links and routes alone', async () => {
    setLink(1400);
    await fabric.start({ mode: 'vxlan', pathMtu: { enabled: false } }, 'v4', 'v4');
    expect(routeMtu(1, '-4', '10.244.3.0/24')).toBeUndefined();
  });
});

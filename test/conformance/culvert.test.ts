/** The plugin culvert with what a runtime asks for: host ports, shaping, names; with traffic, CHECK, DEL, GC and undo. */

import { describe, expect } from 'vitest';
import { it as base } from '../support/case.ts';
import { Outside } from '../support/outside.ts';
import { failureOf, fine, type Pod } from '../support/pod.ts';
import { askTcp, askUdp, Services } from '../support/service.ts';
import { ours } from '../support/suite.ts';
import { type Attach, culvertNode, remains } from '../support/thick.ts';
import { throughput } from '../support/throughput.ts';

const it = base.skipIf(!ours);
const rate = 20_000_000;
/** A machine that is busy elsewhere measures too little: then it is measured anew. */
const again = { retry: 2, timeout: 180_000 };
const web = { hostPort: 8080, containerPort: 80, protocol: 'tcp' };
const dns = { hostPort: 5353, containerPort: 80, protocol: 'udp' };
const everything = {
  portMappings: [web, dns],
  bandwidth: { ingressRate: rate, egressRate: rate, unshapedSubnets: ['10.7.0.0/16', 'fd07::/64'] },
  dns: { servers: ['10.1.2.1'], searches: ['example.org'], options: ['ndots:5'] },
};

describe.each(['ptp', 'bridge'] as const)('attach: %s', (attach: Attach) => {
  it('leads host ports to the pod, by both families and by 127.0.0.1', async ({ host }) => {
    const outside = new Outside(host);
    const services = new Services();
    try {
      const make = culvertNode(host, attach);
      const pod = make({ portMappings: [web, dns] });
      pod.add();
      await services.serve(pod.netns, 'pod');
      for (const [near, far] of [
        ['192.0.2.1', Outside.addresses[0]],
        ['2001:db8::1', Outside.addresses[1]],
      ] as const) {
        expect(askTcp(outside.netns, near, 8080)).toBe(`pod ${far}`);
        expect(askUdp(outside.netns, near, 5353)).toBe(`pod ${far}`);
        expect(askTcp(host.netns, near, 8080)).toMatch(/^pod /);
        expect(askTcp(pod.netns, near, 8080)).toMatch(/^pod /);
        const neighbour = make();
        const own = neighbour.add().ips!.map((ip) => ip.address.split('/')[0]);
        expect(askTcp(neighbour.netns, near, 8080)).toMatch(/^pod /);
        if (attach === 'ptp') expect(own).toContain(askTcp(neighbour.netns, near, 8080)!.split(' ')[1]);
      }
      expect(askTcp(host.netns, '127.0.0.1', 8080)).toMatch(/^pod /);
    } finally {
      services.close();
      outside.remove();
    }
  });

  it(
    'holds traffic to the rate, to the pod and from it, by both families, but for unshaped subnets',
    again,
    async ({ host }) => {
      host.exec('ip addr add 10.7.0.1/32 dev lo');
      host.exec('ip addr add fd07::1/128 dev lo');
      for (const address of ['10.8.0.1/32', 'fd08::1/128']) host.exec(`ip addr add ${address} dev lo`);
      const make = culvertNode(host, attach);
      const pods = [1, 2, 3, 4].map(() => {
        const pod = make({ bandwidth: everything.bandwidth });
        const [v4, v6] = pod.add().ips!.map((ip) => ip.address.split('/')[0]!);
        return { netns: pod.netns, v4: v4!, v6: v6! };
      });
      const [a, b, c, d] = pods as [(typeof pods)[0], (typeof pods)[0], (typeof pods)[0], (typeof pods)[0]];
      const measured = await Promise.all([
        throughput(host.netns, a.netns, a.v4),
        throughput(host.netns, b.netns, b.v6),
        throughput(c.netns, host.netns, '10.8.0.1'),
        throughput(d.netns, host.netns, 'fd08::1'),
      ]);
      for (const bits of measured) {
        expect(bits / rate).toBeGreaterThan(0.95);
        expect(bits / rate).toBeLessThan(1.05);
      }
      expect(await throughput(a.netns, host.netns, '10.7.0.1', 1)).toBeGreaterThan(5 * rate);
      expect(await throughput(host.netns, a.netns, `${a.v6} -B fd07::1`, 1)).toBeGreaterThan(5 * rate);
    },
  );

  it('CHECK finds all of it, and DEL leaves nothing', ({ host }) => {
    const pod = culvertNode(host, attach)(everything);
    const result = pod.add();
    fine(pod.check(result));
    expect(result.dns).toEqual({ nameservers: ['10.1.2.1'], search: ['example.org'], options: ['ndots:5'] });
    expect(result.interfaces!.map((i) => i.name.slice(0, 3))).toEqual([
      ...(attach === 'bridge' ? ['cul'] : []),
      'vet',
      'eth',
      'bwi',
      'bwp',
    ]);
    pod.del();
    expect(remains(host)).toEqual([]);
  });
});

/** Both families' share of what kube-proxy makes of a Service. */
const serviceTo = (pod: readonly string[]): string => `table inet service {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    ip daddr 10.96.0.80 dnat ip to ${pod[0]}
    ip6 daddr fd96::80 dnat ip6 to ${pod[1]}
  }
}`;

it('attach: ptp: whoever comes by a Service is seen as it is, also by a pod with host ports', async ({ host }) => {
  const services = new Services();
  try {
    const make = culvertNode(host);
    const [pod, neighbour] = [make({ portMappings: [web] }), make()];
    const [to, own] = [pod, neighbour].map((p) => p.add().ips!.map((ip) => ip.address.split('/')[0]!));
    await services.serve(pod.netns, 'pod');
    host.exec('nft -f -', serviceTo(to!));
    expect(askTcp(neighbour.netns, '10.96.0.80', 80)).toBe(`pod ${own![0]}`);
    expect(askTcp(neighbour.netns, 'fd96::80', 80)).toBe(`pod ${own![1]}`);
  } finally {
    services.close();
  }
});

/** Paths of the differences that CHECK finds. */
const drift = (pod: Pod, result: Parameters<Pod['check']>[0]): string[] =>
  (JSON.parse(failureOf(pod.check(result)).details!) as { path: string }[]).map((p) => p.path);

it('CHECK names a mapping, a bucket and an ifb that are gone', ({ host }) => {
  const pod = culvertNode(host)(everything);
  const result = pod.add();
  const ifb = result.interfaces!.find((i) => i.name.startsWith('bwp'))!.name;
  host.exec('nft delete element inet culvert_portmap any6 { 6 . 8080 }');
  expect(drift(pod, result)).toEqual(['mapping of host port 8080/tcp']);
  host.exec(`tc qdisc del dev ${ifb} root`);
  expect(drift(pod, result)).toContain(`tbf on ${ifb}`);
  host.exec(`ip link del ${ifb}`);
  expect(drift(pod, result)).toContain(`link ${ifb}`);
});

it('a host port that is taken undoes all of the ADD', ({ host }) => {
  const make = culvertNode(host);
  const first = make({ portMappings: [web] }, 'first');
  const result = first.add();
  const before = remains(host);
  const error = failureOf(make({ ...everything, portMappings: [dns, web] }, 'second').call('ADD'));
  expect(error.code).toBe(102);
  expect(error.msg).toContain('net first eth0');
  expect(remains(host)).toEqual(before);
  fine(first.check(result));
});

it.for(['198.51.100.1', '2001:db8:1::1'])(
  'without the node’s %s on the host ADD and STATUS say so with code 50, and name the agent',
  (address, { host }) => {
    const pod = culvertNode(host)(everything);
    host.exec(`ip addr del ${address} dev lo`);
    for (const command of ['ADD', 'STATUS'] as const) {
      const error = failureOf(pod.call(command));
      expect(error.code).toBe(50);
      expect(error.msg).toContain(`no link of the host has the node's ${address}`);
      expect(error.details).toContain('culvert agent');
    }
    expect(remains(host)).toEqual([]);
  },
);

it.for([
  ['portMappings', { portMappings: [{ ...web, hostPort: 0 }] }, 'runtimeConfig.portMappings[0].hostPort: got 0'],
  ['bandwidth', { bandwidth: { egressBurst: 8 } }, 'runtimeConfig.bandwidth.egressRate: got nothing'],
  ['dns', { dns: { servers: 'x' } }, 'runtimeConfig.dns.servers: got "x"'],
  ['ips', { ips: ['x'] }, 'runtimeConfig.ips[0]: got "x"'],
  ['mac', { mac: 'x' }, 'runtimeConfig.mac: got "x"'],
] as const)('%s that is wrong is refused by path and value, and nothing changes', ([, runtime, text], { host }) => {
  const error = failureOf(culvertNode(host)(runtime).call('ADD'));
  expect(error.code).toBe(7);
  expect(error.msg).toContain(text);
  expect(remains(host)).toEqual([]);
});

describe('DEL', () => {
  const damages: [string, (pod: Pod) => void][] = [
    ['the configuration keys', () => {}],
    ['the namespace', (p) => p.host.removePod(p.netns)],
    ['the host’s end', (p) => void p.exec('ip link del eth0')],
    [
      'the ifbs',
      (p) => {
        for (const link of p.host.exec('ip -o link show type ifb').match(/bw[ip]\w+(?=:)/g)!)
          p.host.exec(`ip link del ${link}`);
      },
    ],
    ['the table', (p) => void p.host.exec('nft delete table inet culvert_portmap')],
  ];
  it.for(damages)('leaves nothing without %s, twice', ([, damage], { host }) => {
    const pod = culvertNode(host)(everything);
    pod.add();
    damage(pod);
    const { runtimeConfig: _, ...conf } = pod.conf;
    for (const conf_ of [conf, conf]) fine(pod.call('DEL', { conf: conf_ }));
    expect(remains(host)).toEqual([]);
  });
});

it('GC takes links, ifbs, mappings and leases of what is not listed, and nothing else', ({ host }) => {
  const make = culvertNode(host);
  const keeps = make(everything, 'keeps');
  const result = keeps.add();
  const before = remains(host);
  make({ ...everything, portMappings: [{ ...web, hostPort: 81 }] }, 'goes').add();
  const listed = { ...keeps.conf, 'cni.dev/valid-attachments': [{ containerID: 'keeps', ifname: 'eth0' }] };
  fine(keeps.call('GC', { conf: listed }));
  expect(remains(host)).toEqual(before);
  fine(keeps.check(result));
});

/** bandwidth: its keys, its answer, what it makes, CHECK, DEL and GC. The traffic is in bandwidth-traffic.test.ts. */

import { describe, expect } from 'vitest';
import { attach, dualStack, links } from '../support/bridge.ts';
import { it, itOurs, needs } from '../support/case.ts';
import { Chained } from '../support/chain.ts';
import type { Host } from '../support/netns.ts';
import { failureOf, fine } from '../support/pod.ts';
import { errorCode, referenceDir } from '../support/suite.ts';

const both = { ingressRate: 8_000_000, ingressBurst: 8_000_000, egressRate: 16_000_000, egressBurst: 16_000_000 };

const shaped = (host: Host, bandwidth: unknown, keys: object = {}, options: object = {}): Chained =>
  new Chained(host, { type: 'bandwidth', runtimeConfig: { bandwidth }, ...keys }, options);

const qdiscs = (host: Host): string[] =>
  host
    .exec('tc qdisc show')
    .split('\n')
    .filter((line) => /\b(tbf|clsact|ingress)\b/.test(line));

const ifbs = (host: Host): string[] =>
  links(host)
    .filter((l) => l.linkinfo?.info_kind === 'ifb')
    .map((l) => l.ifname);

const hostEnd = (pod: Chained): string => pod.previous.interfaces![1]!.name;

describe('ADD', () => {
  it('answers the previous result and the ifb', ({ host }) => {
    const pod = shaped(host, both);
    const { interfaces, ...rest } = pod.add();
    const { interfaces: before, ...previous } = pod.previous;
    expect(rest).toEqual(previous);
    expect(interfaces!.slice(0, 3)).toEqual(before);
    expect(interfaces!.slice(3).map((i) => i.name)).toEqual(ifbs(host));
    expect(interfaces![3]).toMatchObject({ mac: links(host).find((l) => l.ifname === ifbs(host)[0])!.address });
  });

  it('without rates answers the previous result and makes nothing', ({ host }) => {
    for (const bandwidth of [undefined, {}, { ingressRate: 0, ingressBurst: 0 }]) {
      const pod = shaped(host, bandwidth);
      expect(pod.add()).toEqual(pod.previous);
    }
    expect([...qdiscs(host), ...ifbs(host)]).toEqual([]);
  });

  it('holds what goes to the container back on the host’s end, and what comes from it on an ifb', ({ host }) => {
    const pod = shaped(host, both);
    pod.add();
    expect(qdiscs(host).find((q) => q.includes(`dev ${hostEnd(pod)} root`))).toMatch(/tbf.* rate 8Mbit burst 1000000b/);
    expect(qdiscs(host).find((q) => q.includes(`dev ${ifbs(host)[0]} `))).toMatch(/tbf.* rate 16Mbit burst 2000000b/);
    expect(pod.pod.exec('tc qdisc show')).not.toMatch(/tbf|clsact/);
  });

  it('takes rates of the configuration before those of the runtime', ({ host }) => {
    const pod = shaped(host, both, { ingressRate: 80_000_000, ingressBurst: 80_000_000 });
    pod.add();
    expect(qdiscs(host).join('\n')).toContain('rate 80Mbit');
    expect(ifbs(host)).toEqual([]);
  });

  it('without prevResult is refused', ({ host }) => {
    const error = failureOf(shaped(host, both).call('ADD', { prevResult: undefined }));
    expect(error.code).toBe(errorCode(7));
    expect(error.msg).toContain('must be called as');
  });

  it('whose interface’s other end is not in the result is refused', ({ host }) => {
    const pod = shaped(host, both);
    const { interfaces: _, ips: __, ...rest } = pod.previous;
    const ips = pod.previous.ips!.map(({ interface: ___, ...ip }) => ip);
    const error = failureOf(pod.call('ADD', { prevResult: { ...rest, ips } }));
    expect(error.code).toBe(errorCode(7));
    expect([...qdiscs(host), ...ifbs(host)]).toEqual([]);
  });

  itOurs('a second time changes nothing', ({ host }) => {
    const pod = shaped(host, { ...both, unshapedSubnets: ['10.9.0.0/16'] });
    pod.add();
    const filters = () => host.exec(`tc filter show dev ${hostEnd(pod)} ingress`).match(/match/g)?.length;
    const before = [qdiscs(host), ifbs(host), filters()];
    pod.add();
    expect([qdiscs(host), ifbs(host), filters()]).toEqual(before);
    fine(pod.call('CHECK'));
  });

  itOurs('that fails half-way leaves nothing', ({ host }) => {
    const pod = shaped(host, both);
    // what is there already and is not ours cannot be replaced by a token bucket
    host.exec(`tc qdisc add dev ${hostEnd(pod)} root handle 1: htb`);
    expect(failureOf(pod.call('ADD')).code).toBe(100);
    expect(ifbs(host)).toEqual([]);
    expect(qdiscs(host)).toEqual([]);
  });

  itOurs('finds the host’s end behind the reference’s bridge', ({ host, skip }) => {
    needs({ skip }, 'the reference plugins');
    const pod = attach(host, { isGateway: true }, { ipam: dualStack, cniVersion: '1.0.0' });
    const prevResult = pod.add({ bin: referenceDir!, path: referenceDir! });
    const conf = { cniVersion: '1.0.0', name: 'net', type: 'bandwidth', ...both, prevResult };
    const names = { containerId: pod.id, netns: pod.netns, ifname: 'eth0' };
    for (const command of ['ADD', 'CHECK']) {
      const answer = host.call({ plugin: 'bandwidth', command, conf, ...names });
      expect(answer.status, answer.stdout).toBe(0);
    }
    expect(qdiscs(host)).toHaveLength(3);
    fine(host.call({ plugin: 'bandwidth', command: 'DEL', conf, ...names }));
    expect([...qdiscs(host), ...ifbs(host)]).toEqual([]);
  });
});

describe('keys', () => {
  const wrong: [string, object, string][] = [
    ['ingressRate no number', { ...both, ingressRate: 'fast' }, 'ingressRate'],
    ['egressRate negative', { ...both, egressRate: -1 }, 'egressRate'],
    ['ingressBurst no number', { ...both, ingressBurst: true }, 'ingressBurst'],
    ['egressBurst negative', { ...both, egressBurst: -5 }, 'egressBurst'],
    ['ingressBurst without a rate', { ingressBurst: 8_000_000 }, 'rate'],
    ['egressBurst without a rate', { egressBurst: 8_000_000 }, 'rate'],
    ['ingressBurst of more than 4 GB', { ...both, ingressBurst: 2 ** 35 }, ''],
  ];
  it.for(wrong)('%s is refused, by the configuration and by the runtime', ([, bandwidth, text], { host }) => {
    for (const pod of [shaped(host, bandwidth), shaped(host, undefined, bandwidth)]) {
      const error = failureOf(pod.call('ADD'));
      expect([errorCode(7), 6, 7]).toContain(error.code);
      expect(error.msg.toLowerCase()).toContain(text.toLowerCase());
    }
    expect([...qdiscs(host), ...ifbs(host)]).toEqual([]);
  });

  const ownWrong: [string, object, string][] = [
    ['ingressRate', { ingressRate: 1.5 }, 'ingressRate: got 1.5, want a whole number from 0'],
    ['egressBurst', { egressBurst: 800 }, 'egressRate: got nothing, want bits per second, as egressBurst is set'],
    [
      'shapedSubnets',
      { ...both, shapedSubnets: ['10.0.0.0/33'] },
      'shapedSubnets[0]: got "10.0.0.0/33", want a prefix',
    ],
    ['unshapedSubnets', { ...both, unshapedSubnets: '10.0.0.0/8' }, 'unshapedSubnets: got "10.0.0.0/8", want a list'],
    [
      'both subnets',
      { ...both, shapedSubnets: ['10.0.0.0/8'], unshapedSubnets: ['fd00::/8'] },
      'unshapedSubnets: got ["fd00::/8"], want nothing, as shapedSubnets is set',
    ],
  ];
  itOurs.for(ownWrong)('%s is refused by path and value', ([, bandwidth, text], { host }) => {
    for (const [pod, path] of [
      [shaped(host, bandwidth), 'runtimeConfig.bandwidth.'],
      [shaped(host, undefined, bandwidth), ''],
    ] as const) {
      const error = failureOf(pod.call('ADD'));
      expect(error.code).toBe(7);
      expect(error.msg).toContain(path + text);
    }
    expect([...qdiscs(host), ...ifbs(host)]).toEqual([]);
  });

  itOurs('runtimeConfig.bandwidth that is no object is refused', ({ host }) => {
    const error = failureOf(shaped(host, 7).call('ADD'));
    expect(error.code).toBe(7);
    expect(error.msg).toContain('runtimeConfig.bandwidth: got 7, want an object');
  });
});

describe('CHECK', () => {
  it('finds what ADD made, and misses it after DEL', ({ host }) => {
    const pod = shaped(host, both);
    pod.add();
    fine(pod.call('CHECK'));
    pod.del();
    expect(failureOf(pod.call('CHECK')).code).toBe(errorCode(103));
  });

  itOurs.for([
    [{}],
    [{ unshapedSubnets: ['10.9.0.0/16', 'fd09::/45', '0.0.0.0/0', '::/0'] }],
    [{ shapedSubnets: ['10.9.8.7/32'] }],
  ])('is content with %j', ([subnets], { host }) => {
    const pod = shaped(host, { ...both, ingressBurst: 0, ...subnets });
    pod.add();
    fine(pod.call('CHECK'));
  });

  const damages: [string, (host: Host, pod: Chained) => string, string, string][] = [
    ['the root', (_, p) => `tc qdisc del dev ${hostEnd(p)} root`, 'tbf on veth', 'nothing'],
    [
      'the rate',
      (_, p) => `tc qdisc change dev ${hostEnd(p)} root handle 1: tbf rate 9mbit burst 1mb limit 1mb`,
      'tbf on veth',
      '1125000',
    ],
    ['the filters', (_, p) => `tc qdisc del dev ${hostEnd(p)} clsact`, 'clsact on veth', 'nothing'],
    ['one filter', (_, p) => `tc filter del dev ${hostEnd(p)} ingress prio 3`, 'filter on veth', 'nothing'],
    ['the ifb', (h) => `ip link del ${ifbs(h)[0]}`, 'link bwp', 'nothing'],
    ['the ifb’s state', (h) => `ip link set ${ifbs(h)[0]} down`, 'link bwp', 'false'],
  ];
  itOurs.for(damages)('names %s that is not as it was', ([, damage, path, got], { host }) => {
    const pod = shaped(host, both);
    pod.add();
    host.exec(damage(host, pod));
    const error = failureOf(pod.call('CHECK'));
    expect(error.code).toBe(103);
    const problems = JSON.parse(error.details!) as { path: string; got: string; want: string }[];
    expect(problems.find((p) => p.path.startsWith(path))?.got).toBe(got);
  });
});

describe('DEL', () => {
  it('twice, and of what was never added, is no error', ({ host }) => {
    const pod = shaped(host, both);
    pod.del();
    pod.add();
    pod.del();
    pod.del();
    expect(ifbs(host)).toEqual([]);
  });

  itOurs('removes qdiscs and ifbs, whatever is gone', ({ host }) => {
    const damages: [string, (pod: Chained) => void, Record<string, unknown>][] = [
      ['nothing', () => {}, {}],
      ['the link', (p) => void host.exec(`ip link del ${hostEnd(p)}`), {}],
      ['the namespace', (p) => host.removePod(p.netns), {}],
      ['the ifb', () => void host.exec(`ip link del ${ifbs(host)[0]}`), {}],
      ['the root', (p) => void host.exec(`tc qdisc del dev ${hostEnd(p)} root`), {}],
      ['the filters', (p) => void host.exec(`tc qdisc del dev ${hostEnd(p)} clsact`), {}],
      ['the result', () => {}, { prevResult: undefined }],
      ['the right keys', () => {}, { ingressBurst: 'x', runtimeConfig: { bandwidth: { ingressRate: 'x' } } }],
    ];
    for (const [what, damage, more] of damages) {
      const pod = shaped(host, both);
      pod.add();
      damage(pod);
      pod.del(more);
      expect([...qdiscs(host), ...ifbs(host)], what).toEqual([]);
    }
  });

  itOurs('takes the reference plugin’s ifb too', ({ host, skip }) => {
    needs({ skip }, 'the reference plugins');
    const pod = shaped(host, both);
    const names = { containerId: pod.pod.id, netns: pod.netns, ifname: 'eth0' };
    const conf = { ...pod.conf, cniVersion: '1.0.0', prevResult: { ...pod.previous, cniVersion: '1.0.0' } };
    const added = host.call({ plugin: 'bandwidth', command: 'ADD', conf, ...names, bin: referenceDir! });
    expect(added.status, added.stdout).toBe(0);
    expect(ifbs(host)).toHaveLength(1);
    pod.del();
    expect(ifbs(host)).toEqual([]);
  });
});

describe('GC and STATUS', () => {
  itOurs('GC takes what shapes attachments that are not listed, in this network only', ({ host }) => {
    const keeps = shaped(host, both, {}, { id: 'keeps' });
    const goes = shaped(host, { ...both, unshapedSubnets: ['10.9.0.0/16'] }, {}, { id: 'goes' });
    for (const pod of [keeps, goes]) pod.add();
    host.exec('ip link add bwp0123456789ab type ifb');
    host.exec('ip link add bwp01234567 type ifb');
    const before = ifbs(host);
    fine(shaped(host, both, { name: 'other' }).call('GC'));
    expect(ifbs(host)).toEqual(before);
    fine(keeps.call('GC', { 'cni.dev/valid-attachments': [{ containerID: 'keeps', ifname: 'eth0' }] }));
    fine(keeps.call('CHECK'));
    expect(qdiscs(host).filter((q) => q.includes(hostEnd(goes)))).toEqual([]);
    expect(ifbs(host)).toEqual(
      ['bwp0123456789ab', 'bwp01234567', `bwp${hostEnd(keeps).slice(4)}`].sort(
        (a, b) => before.indexOf(a) - before.indexOf(b),
      ),
    );
  });

  itOurs('GC of nothing is fine', ({ host }) => {
    fine(
      host.call({ plugin: 'bandwidth', command: 'GC', conf: { cniVersion: '1.1.0', name: 'net', type: 'bandwidth' } }),
    );
  });

  itOurs('STATUS answers for a right configuration and not for a wrong one', ({ host }) => {
    const pod = shaped(host, both);
    fine(pod.call('STATUS'));
    expect(failureOf(pod.call('STATUS', { ingressRate: 'x' })).code).toBe(7);
  });
});

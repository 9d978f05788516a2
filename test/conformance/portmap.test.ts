/** portmap: its keys, its answer, ownership of ports, CHECK, DEL and GC. */

import { describe, expect } from 'vitest';
import { ruleset } from '../support/bridge.ts';
import { it, itOurs } from '../support/case.ts';
import { Chained } from '../support/chain.ts';
import type { Host } from '../support/netns.ts';
import { failureOf, fine, resultOf } from '../support/pod.ts';
import { errorCode } from '../support/suite.ts';

const web = { hostPort: 8080, containerPort: 80, protocol: 'tcp' };

const mapped = (
  host: Host,
  mappings: unknown,
  keys: object = {},
  options: { id?: string; name?: string } = {},
): Chained => new Chained(host, { type: 'portmap', runtimeConfig: { portMappings: mappings }, ...keys }, options);

/** The shared table; the suite makes it with the first mapping. */
const table = (host: Host): string => host.exec('nft -p list table inet culvert_portmap');

describe('ADD', () => {
  it('answers the previous result', ({ host }) => {
    const pod = mapped(host, [web]);
    expect(pod.add()).toEqual(pod.previous);
  });

  it('without mappings answers the previous result and leaves no rule', ({ host }) => {
    const pod = mapped(host, []);
    const before = ruleset(host);
    expect(pod.add()).toEqual(pod.previous);
    expect(ruleset(host)).toBe(before);
  });

  it('without prevResult is refused', ({ host }) => {
    const error = failureOf(mapped(host, [web]).call('ADD', { prevResult: undefined }));
    expect(error.code).toBe(errorCode(7));
    expect(error.msg).toContain('must be called as');
  });

  itOurs('makes one element per mapping and address', ({ host }) => {
    const pod = mapped(host, [
      web,
      { ...web, hostPort: 53, protocol: 'UDP' },
      { ...web, protocol: 'sctp', hostIP: '192.0.2.1' },
    ]);
    pod.add();
    const shown = table(host);
    for (const [key, to] of [
      ['6 . 8080', '10.1.2.2 . 80'],
      ['17 . 53', '10.1.2.2 . 80'],
      ['192.0.2.1 . 132 . 8080', '10.1.2.2 . 80'],
      ['6 . 8080', 'fd00:1:2::2 . 80'],
      ['17 . 53', 'fd00:1:2::2 . 80'],
    ]) {
      expect(shown).toMatch(new RegExp(`${key} comment "culvert:[^"]*" : ${to}`));
    }
    expect(shown.match(/comment/g)).toHaveLength(5 + 2);
  });

  itOurs('a second time with the same mappings is no error', ({ host }) => {
    const pod = mapped(host, [web]);
    pod.add();
    const before = table(host);
    pod.add();
    expect(table(host)).toBe(before);
  });

  itOurs('of a port that another container has is refused with its name, and changes nothing', ({ host }) => {
    const first = mapped(host, [web], {}, { id: 'first' });
    first.add();
    const second = mapped(host, [{ ...web, hostPort: 9090 }, web], {}, { id: 'second' });
    const before = ruleset(host);
    const error = failureOf(second.call('ADD'));
    expect(error.code).toBe(102);
    expect(error.msg).toContain('8080/tcp');
    expect(error.msg).toContain('net first eth0');
    expect(ruleset(host)).toBe(before);
    first.del();
    second.add();
  });

  itOurs('takes the same port on another address or of another protocol', ({ host }) => {
    for (const mapping of [
      web,
      { ...web, protocol: 'udp' },
      { ...web, hostIP: '192.0.2.1' },
      { ...web, hostIP: '192.0.2.2' },
    ]) {
      mapped(host, [mapping]).add();
    }
  });
});

describe('keys', () => {
  const wrong: [string, object, unknown, string][] = [
    ['backend', { backend: 'ebtables' }, [web], 'ebtables'],
    ['markMasqBit', { markMasqBit: 32 }, [web], ''],
    ['snat', { snat: 'yes' }, [web], 'snat'],
    ['masqAll', { masqAll: 1 }, [web], 'masqAll'],
    ['hostPort', {}, [{ ...web, hostPort: 0 }], '0'],
    ['containerPort', {}, [{ ...web, containerPort: -1 }], '-1'],
    ['portMappings', {}, 'web', 'portMappings'],
  ];
  it.for(wrong)('%s that is wrong is refused, and nothing changes', ([, keys, mappings, text], { host }) => {
    const pod = mapped(host, mappings, keys);
    const before = ruleset(host);
    const error = failureOf(pod.call('ADD'));
    expect([errorCode(7), 6, 7]).toContain(error.code);
    expect(error.msg).toContain(text);
    expect(ruleset(host)).toBe(before);
  });

  const ownWrong: [string, object, unknown, number, string][] = [
    ['hostPort too large', {}, [{ ...web, hostPort: 65536 }], 7, 'portMappings[0].hostPort: got 65536'],
    ['no containerPort', {}, [{ hostPort: 80 }], 7, 'portMappings[0].containerPort: got nothing'],
    ['protocol', {}, [{ ...web, protocol: 'icmp' }], 7, 'portMappings[0].protocol: got "icmp"'],
    ['hostIP', {}, [{ ...web, hostIP: 'localhost' }], 7, 'portMappings[0].hostIP: got "localhost"'],
    ['one port twice', {}, [web, { ...web, containerPort: 81 }], 7, 'portMappings[1].containerPort: got 81'],
    [
      'conditions of the other backend',
      { backend: 'nftables', conditionsV4: ['-s', '10.0.0.0/8'] },
      [web],
      7,
      'conditionsV4',
    ],
    ['a condition’s prefix', { conditionsV4: ['-s', 'fd00::/8'] }, [web], 7, 'conditionsV4[1]: got "fd00::/8"'],
    [
      'a condition without translation',
      { conditionsV4: ['-m', 'owner'] },
      [web],
      2,
      'conditionsV4: got ["-m","owner"]',
    ],
    [
      'externalSetMarkChain',
      { externalSetMarkChain: 'KUBE-MARK-MASQ' },
      [web],
      2,
      'externalSetMarkChain: got "KUBE-MARK-MASQ"',
    ],
  ];
  itOurs.for(ownWrong)('%s is refused by name and value', ([, keys, mappings, code, text], { host }) => {
    const error = failureOf(mapped(host, mappings, keys).call('ADD'));
    expect(error.code).toBe(code);
    expect(error.msg).toContain(text);
  });

  itOurs('backend iptables is done with nftables, and said once', ({ host }) => {
    const { stderr } = mapped(host, [web], { backend: 'iptables' }).call('ADD');
    expect(stderr.match(/backend/g)).toHaveLength(1);
    expect(host.exec('iptables-save -t nat')).not.toContain('DNAT');
  });

  const conditions: [string[], string][] = [
    [['!', '-d', '192.0.2.0/24'], 'ip daddr != 192.0.2.0/24'],
    [['-i', 'eth+', '!', '-s', '10.0.0.1'], 'iifname "eth*" ip saddr != 10.0.0.1'],
    [['ip saddr', '10.0.0.0/8'], 'ip saddr 10.0.0.0/8'],
  ];
  itOurs.for(conditions)('conditions %j become matches', ([words, match], { host }) => {
    mapped(host, [web], { conditionsV4: words }).add();
    expect(table(host)).toContain(match);
  });
});

describe('CHECK', () => {
  it('finds what ADD made, and misses it after DEL', ({ host }) => {
    const pod = mapped(host, [web]);
    pod.add();
    fine(pod.call('CHECK'));
    pod.del();
    expect(failureOf(pod.call('CHECK')).code).toBe(errorCode(103));
  });

  itOurs('names the mapping that is gone, and one that leads elsewhere', ({ host }) => {
    const pod = mapped(host, [web]);
    pod.add();
    host.exec('nft delete element inet culvert_portmap any4 { 6 . 8080 }');
    host.exec(
      'nft -f -',
      'delete element inet culvert_portmap any6 { 6 . 8080 }\nadd element inet culvert_portmap any6 { 6 . 8080 comment "x" : fd00::9 . 1 }\n',
    );
    const error = failureOf(pod.call('CHECK'));
    expect(error.code).toBe(103);
    const problems = JSON.parse(error.details!) as { path: string; got: string; want: string }[];
    expect(problems.map((p) => p.path)).toEqual(['mapping of host port 8080/tcp', 'mapping of host port 8080/tcp']);
    expect(problems.map((p) => p.got)).toEqual(['nothing', expect.stringContaining('fd00::9 . 1')]);
    expect(problems[0]!.want).toContain('10.1.2.2 . 80');
  });
});

describe('DEL', () => {
  it('twice, and of what was never added, is no error', ({ host }) => {
    const pod = mapped(host, [web]);
    pod.del();
    pod.add();
    pod.del();
    pod.del();
  });

  itOurs('needs neither result nor mappings nor a namespace nor right keys', ({ host }) => {
    const other = mapped(host, [{ ...web, hostPort: 9090 }]);
    other.add();
    const pod = mapped(host, [web]);
    pod.add();
    host.removePod(pod.netns);
    pod.del({ prevResult: undefined, runtimeConfig: 7, backend: 'x', conditionsV4: 1 });
    expect(table(host)).not.toContain('8080');
    expect(table(host)).toContain('9090');
  });

  itOurs('that comes late leaves the next owner of the address alone', ({ host }) => {
    const first = mapped(host, [web], {}, { id: 'first' });
    first.add();
    first.pod.del();
    const second = new Chained(
      host,
      { ...first.conf, runtimeConfig: { portMappings: [{ ...web, hostPort: 81 }] } },
      { id: 'second' },
    );
    second.conf['prevResult'] = undefined;
    resultOf(second.call('ADD', { prevResult: first.previous }));
    first.del();
    expect(table(host)).toMatch(/10\.1\.2\.2 comment "culvert:[^"]*net second/);
    expect(table(host)).not.toContain('first');
  });
});

describe('GC and STATUS', () => {
  itOurs('frees the ports of attachments that are not listed, in this network only', ({ host }) => {
    const [keeps, goes] = [
      mapped(host, [web], {}, { id: 'keeps' }),
      mapped(host, [{ ...web, hostPort: 81 }], {}, { id: 'goes' }),
    ];
    const elsewhere = mapped(host, [{ ...web, hostPort: 82 }], { name: 'other' }, { id: 'elsewhere' });
    for (const pod of [keeps, goes, elsewhere]) pod.add();
    const listed = [{ containerID: 'keeps', ifname: 'eth0' }];
    fine(keeps.call('GC', { 'cni.dev/valid-attachments': listed }));
    const shown = table(host);
    expect(shown).toContain('net keeps');
    expect(shown).toContain('other elsewhere');
    expect(shown).not.toContain('goes');
    fine(keeps.call('CHECK'));
  });

  itOurs('STATUS answers for a right configuration and not for a wrong one', ({ host }) => {
    const pod = mapped(host, []);
    fine(pod.call('STATUS'));
    expect(failureOf(pod.call('STATUS', { backend: 'x' })).code).toBe(7);
  });
});

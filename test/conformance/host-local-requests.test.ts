/** host-local: addresses asked for by the runtime in each of the three ways, and everything of the result but addresses. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { it, itOurs } from '../support/case.ts';
import { addresses, lease, leased } from '../support/ipam.ts';
import { failureOf } from '../support/pod.ts';
import { errorCode } from '../support/suite.ts';

const v4 = { subnet: '10.1.2.0/24' };
const dual = { ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00::/64' }]] };
const byArgs = (...ips: string[]) => ({ args: { cni: { ips } } });
const byRuntime = (...ips: string[]) => ({ runtimeConfig: { ips } });

describe('an address asked for', () => {
  it.for([
    ['in CNI_ARGS', {}, 'IP=10.1.2.77'],
    ['in CNI_ARGS beside other keys', {}, 'IgnoreUnknown=1;K8S_POD_NAME=x;IP=10.1.2.77'],
    ['in CNI_ARGS with a prefix length', {}, 'IP=10.1.2.77/24'],
    ['in args', byArgs('10.1.2.77'), ''],
    ['in args with a prefix length', byArgs('10.1.2.77/24'), ''],
    ['in runtimeConfig', byRuntime('10.1.2.77'), ''],
    ['in runtimeConfig with a prefix length', byRuntime('10.1.2.77/24'), ''],
  ] as const)('%s is given', ([, more, args], { host }) => {
    expect(addresses(lease(host, v4, { more }), { args })).toEqual(['10.1.2.77/24']);
    expect(leased(host)).toEqual(['10.1.2.77']);
  });

  it.for([
    ['one of each family', ['10.1.2.77', 'fd00::77'], ['10.1.2.77/24', 'fd00::77/64']],
    ['in the other order', ['fd00::77', '10.1.2.77'], ['10.1.2.77/24', 'fd00::77/64']],
    ['one family only: the other is chosen', ['fd00::77'], ['10.1.2.2/24', 'fd00::77/64']],
    ['IPv6 in another spelling', ['FD00:0:0::0077'], ['10.1.2.2/24', 'fd00::77/64']],
  ] as const)('of several sets: %s', ([, ips, want], { host }) => {
    expect(addresses(lease(host, dual, { more: byRuntime(...ips) }))).toEqual(want);
  });

  it('by different ways for different sets is given in all of them', ({ host }) => {
    const pod = lease(host, dual, { more: byArgs('fd00::77') });
    expect(addresses(pod, { args: 'IP=10.1.2.77' })).toEqual(['10.1.2.77/24', 'fd00::77/64']);
  });

  it.for([
    ['the gateway', '10.1.2.1', 7],
    ['outside every range', '10.7.7.7', 7],
    ['outside the range but in the subnet', '10.1.2.250', 7],
    ['of a family without a range', 'fd00::5', 7],
  ] as const)('that is %s is refused', ([, ip, specified], { host }) => {
    const pod = lease(host, { subnet: '10.1.2.0/24', rangeEnd: '10.1.2.200' });
    expect(failureOf(pod.call('ADD', { args: `IP=${ip}` })).code).toBe(errorCode(specified));
    expect(leased(host)).toEqual([]);
  });

  it('that is taken is refused and stays with its owner', ({ host }) => {
    lease(host, v4).add({ args: 'IP=10.1.2.77' });
    const error = failureOf(lease(host, v4).call('ADD', { args: 'IP=10.1.2.77' }));
    expect(error.code).toBe(errorCode(102));
    expect(error.msg).toContain('10.1.2.77');
    expect(leased(host)).toEqual(['10.1.2.77']);
  });

  it('of two that are asked of one set, the attachment gets neither', ({ host }) => {
    failureOf(lease(host, v4, { more: byRuntime('10.1.2.7', '10.1.2.8') }).call('ADD'));
    expect(leased(host)).toEqual([]);
  });

  it('is the new place from which others go on', ({ host }) => {
    lease(host, v4).add({ args: 'IP=10.1.2.77' });
    expect(addresses(lease(host, v4))).toEqual(['10.1.2.78/24']);
  });

  it.for(['IP=nowhere', 'IP=10.1.2.300', 'NOPAIR', 'IP=1=2', 'FOO=BAR', 'IgnoreUnknown=perhaps'])(
    'with CNI_ARGS %j is refused',
    (args, { host }) => {
      expect(failureOf(lease(host, v4).call('ADD', { args })).code).toBe(errorCode(4));
      expect(leased(host)).toEqual([]);
    },
  );

  it.for([
    'IgnoreUnknown=1;FOO=BAR',
    'IgnoreUnknown=true;FOO=BAR',
    'FOO=BAR;IgnoreUnknown=1',
    'IgnoreUnknown=0',
    'IP=',
  ])('not at all with CNI_ARGS %j: one is chosen', (args, { host }) => {
    expect(addresses(lease(host, v4), { args })).toEqual(['10.1.2.2/24']);
  });

  it.for([byRuntime('nowhere'), byArgs('10.1.2.300'), byRuntime('10.1.2.7/99')])(
    'as %j is refused',
    (more, { host }) => {
      expect(failureOf(lease(host, v4, { more }).call('ADD')).code).toBe(errorCode(7));
    },
  );
});

describe('routes', () => {
  it.for([
    ['plain', [{ dst: '0.0.0.0/0' }]],
    ['with a gateway', [{ dst: '192.168.0.0/16', gw: '10.1.2.9' }]],
    ['of both families', [{ dst: '0.0.0.0/0' }, { dst: '::/0', gw: 'fe80::1' }]],
    [
      'with the attributes of 1.1',
      [{ dst: '10.0.0.0/8', mtu: 1400, advmss: 1360, priority: 10, table: 100, scope: 253 }],
    ],
    ['in table 0 and scope 0', [{ dst: '10.0.0.0/8', table: 0, scope: 0 }]],
  ] as const)('%s are answered as they stand', ([, routes], { host }) => {
    expect(lease(host, { ...v4, routes }).add().routes).toEqual(routes);
  });

  it('are left out when there are none', ({ host }) => {
    expect(lease(host, v4).add()).not.toHaveProperty('routes');
  });

  it.for([[{}], [{ dst: 'somewhere' }], [{ dst: '10.0.0.0/8', gw: 'x' }], [{ dst: '10.0.0.0/8', mtu: 'big' }], [5]])(
    '%j are refused',
    (routes, { host }) => {
      const pod = lease(host, { ...v4, routes });
      // the reference takes a route without a destination
      if (JSON.stringify(routes) === '[{}]' && errorCode(7) === 999) return;
      expect(failureOf(pod.call('ADD')).code).toBe(errorCode(7));
    },
  );
});

describe('resolvConf', () => {
  it('is read into dns', ({ host }) => {
    const file = join(host.dir, 'resolv.conf');
    writeFileSync(
      file,
      `# comment
; another
nameserver 192.0.2.1
  nameserver fd00::53
domain example.com
search a.example b.example
search c.example
options ndots:3 rotate
sortlist 10.0.0.0
nameserver
`,
    );
    expect(lease(host, { ...v4, resolvConf: file }).add().dns).toEqual({
      nameservers: ['192.0.2.1', 'fd00::53'],
      domain: 'example.com',
      search: ['a.example', 'b.example', 'c.example'],
      options: ['ndots:3', 'rotate'],
    });
  });

  it('that does not exist fails before an address is taken', ({ host }) => {
    const pod = lease(host, { ...v4, resolvConf: join(host.dir, 'absent') });
    expect(failureOf(pod.call('ADD')).code).toBe(errorCode(7));
    expect(leased(host)).toEqual([]);
  });

  it('that does not exist does not keep DEL from releasing', ({ host }) => {
    const pod = lease(host, v4);
    pod.add();
    const conf = { ...pod.conf, ipam: { ...(pod.conf['ipam'] as object), resolvConf: '/nowhere' } };
    expect(pod.call('DEL', { conf }).status).toBe(0);
    expect(leased(host)).toEqual([]);
  });
});

describe('prevResult', () => {
  itOurs('on ADD is no reason to fail: an IPAM plugin is not chained', ({ host }) => {
    const more = { prevResult: { cniVersion: '1.1.0', ips: [{ address: '10.8.0.2/24' }] } };
    expect(addresses(lease(host, v4, { more }))).toEqual(['10.1.2.2/24']);
  });
});

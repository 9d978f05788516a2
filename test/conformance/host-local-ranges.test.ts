/** host-local: which address an ADD gets. Ranges, their defaults and errors, the turn of the addresses, several sets. */

import { describe, expect } from 'vitest';
import { it, itOurs } from '../support/case.ts';
import { addresses, lease, leased } from '../support/ipam.ts';
import { failureOf } from '../support/pod.ts';
import { errorCode } from '../support/suite.ts';

describe('one range', () => {
  it.for([
    [
      'the subnet alone: the second address, the first being the gateway',
      { subnet: '10.1.2.0/24' },
      '10.1.2.2/24',
      '10.1.2.1',
    ],
    ['an IPv6 subnet', { subnet: 'fd00:1::/64' }, 'fd00:1::2/64', 'fd00:1::1'],
    ['rangeStart', { subnet: '10.1.2.0/24', rangeStart: '10.1.2.50' }, '10.1.2.50/24', '10.1.2.1'],
    ['a gateway elsewhere', { subnet: '10.1.2.0/24', gateway: '10.1.2.99' }, '10.1.2.1/24', '10.1.2.99'],
    [
      'a gateway at rangeStart is skipped',
      { subnet: '10.1.2.0/24', rangeStart: '10.1.2.7', gateway: '10.1.2.7' },
      '10.1.2.8/24',
      '10.1.2.7',
    ],
    ['a gateway outside the subnet', { subnet: '10.1.2.0/24', gateway: '192.0.2.1' }, '10.1.2.1/24', '192.0.2.1'],
    ['a /16', { subnet: '10.1.0.0/16', rangeStart: '10.1.0.255' }, '10.1.0.255/16', '10.1.0.1'],
    ['the smallest subnet', { subnet: '10.1.2.0/30' }, '10.1.2.2/30', '10.1.2.1'],
    ['an IPv6 /126', { subnet: 'fd00::/126' }, 'fd00::2/126', 'fd00::1'],
    ['IPv6 written in another way', { subnet: 'FD00:0:0:1:0:0:0:0/64' }, 'fd00:0:0:1::2/64', 'fd00:0:0:1::1'],
  ] as const)('%s', ([, ipam, address, gateway], { host }) => {
    expect(lease(host, ipam).add().ips).toEqual([{ address, gateway }]);
  });

  it('is handed out in turn, also after a release', ({ host }) => {
    const ipam = { subnet: '10.1.2.0/29' };
    const first = lease(host, ipam);
    expect(addresses(first)).toEqual(['10.1.2.2/29']);
    expect(addresses(lease(host, ipam))).toEqual(['10.1.2.3/29']);
    first.del();
    expect(addresses(lease(host, ipam))).toEqual(['10.1.2.4/29']);
    expect(addresses(lease(host, ipam))).toEqual(['10.1.2.5/29']);
    expect(addresses(lease(host, ipam))).toEqual(['10.1.2.6/29']);
    expect(addresses(lease(host, ipam))).toEqual(['10.1.2.2/29']);
  });

  it.for([
    ['IPv4, the broadcast address never given', { subnet: '10.1.2.0/29' }, 5],
    ['IPv6, the last address given', { subnet: 'fd00::/125' }, 6],
    ['from rangeStart to rangeEnd', { subnet: '10.1.2.0/24', rangeStart: '10.1.2.10', rangeEnd: '10.1.2.12' }, 3],
    ['one address', { subnet: '10.1.2.0/24', rangeStart: '10.1.2.10', rangeEnd: '10.1.2.10' }, 1],
    [
      'the gateway inside the range',
      { subnet: '10.1.2.0/24', rangeStart: '10.1.2.10', rangeEnd: '10.1.2.12', gateway: '10.1.2.11' },
      2,
    ],
  ] as const)('ends: %s', ([, ipam, count], { host }) => {
    const got = new Set<string>();
    for (let i = 0; i < count; i++) got.add(addresses(lease(host, ipam))[0]!);
    expect(got.size).toBe(count);
    const error = failureOf(lease(host, ipam).call('ADD'));
    expect(error.code).toBe(errorCode(101));
    expect(leased(host)).toHaveLength(count);
  });

  it('that is full takes again what is released', ({ host }) => {
    const ipam = { subnet: '10.1.2.0/24', rangeStart: '10.1.2.10', rangeEnd: '10.1.2.11' };
    const first = lease(host, ipam);
    first.add();
    addresses(lease(host, ipam));
    first.del();
    expect(addresses(lease(host, ipam))).toEqual(['10.1.2.10/24']);
  });
});

describe('one attachment', () => {
  it('may not ADD twice', ({ host }) => {
    const pod = lease(host, { subnet: '10.1.2.0/24' });
    pod.add();
    expect(failureOf(pod.call('ADD')).code).toBe(errorCode(102));
    expect(leased(host)).toEqual(['10.1.2.2']);
  });

  it('has an address per interface', ({ host }) => {
    const pod = lease(host, { subnet: '10.1.2.0/24' });
    expect(addresses(pod)).toEqual(['10.1.2.2/24']);
    expect(addresses(pod, { ifname: 'eth1' })).toEqual(['10.1.2.3/24']);
    pod.del({ ifname: 'eth1' });
    expect(leased(host)).toEqual(['10.1.2.2']);
  });

  it('has its own addresses in every network', ({ host }) => {
    const ipam = { subnet: '10.1.2.0/24' };
    expect(addresses(lease(host, ipam, { name: 'blue', id: 'same' }))).toEqual(['10.1.2.2/24']);
    expect(addresses(lease(host, ipam, { name: 'red', id: 'same' }))).toEqual(['10.1.2.2/24']);
  });
});

describe('several sets', () => {
  it('give one address each, in their order', ({ host }) => {
    const ranges = [[{ subnet: 'fd00:5::/64' }], [{ subnet: '10.5.0.0/16' }], [{ subnet: '10.6.0.0/16' }]];
    expect(addresses(lease(host, { ranges }))).toEqual(['fd00:5::2/64', '10.5.0.2/16', '10.6.0.2/16']);
  });

  it('the old subnet key comes first', ({ host }) => {
    const ipam = { subnet: '10.1.0.0/16', ranges: [[{ subnet: '10.2.0.0/16' }]] };
    expect(addresses(lease(host, ipam))).toEqual(['10.1.0.2/16', '10.2.0.2/16']);
  });

  it('ipRanges of runtimeConfig come before both', ({ host }) => {
    const more = { runtimeConfig: { ipRanges: [[{ subnet: '10.9.0.0/16' }], [{ subnet: 'fd09::/64' }]] } };
    const pod = lease(host, { subnet: '10.1.0.0/16', ranges: [[{ subnet: '10.2.0.0/16' }]] }, { more });
    expect(addresses(pod)).toEqual(['10.9.0.2/16', 'fd09::2/64', '10.1.0.2/16', '10.2.0.2/16']);
  });

  it('ipRanges of runtimeConfig may be all there is', ({ host }) => {
    const more = { runtimeConfig: { ipRanges: [[{ subnet: '10.9.0.0/16', rangeStart: '10.9.0.9' }]] } };
    expect(addresses(lease(host, {}, { more }))).toEqual(['10.9.0.9/16']);
  });

  it('within one set the next range is taken when one is full', ({ host }) => {
    const ranges = [[{ subnet: '10.1.0.0/30' }, { subnet: '10.2.0.0/30' }]];
    expect(addresses(lease(host, { ranges }))).toEqual(['10.1.0.2/30']);
    expect(lease(host, { ranges }).add().ips).toEqual([{ address: '10.2.0.2/30', gateway: '10.2.0.1' }]);
    failureOf(lease(host, { ranges }).call('ADD'));
  });

  it('of which one is full give none', ({ host }) => {
    const ranges = [[{ subnet: '10.1.0.0/24' }], [{ subnet: '10.2.0.0/30' }]];
    lease(host, { ranges }).add();
    failureOf(lease(host, { ranges }).call('ADD'));
    expect(leased(host)).toEqual(['10.1.0.2', '10.2.0.2']);
  });

  it.for(['0.1.0', '0.2.0'])(
    'of one family are refused in %s, whose result has one address of each',
    (cniVersion, { host }) => {
      const ranges = [[{ subnet: '10.1.0.0/24' }], [{ subnet: '10.2.0.0/24' }]];
      expect(failureOf(lease(host, { ranges }, { cniVersion }).call('ADD')).code).toBe(errorCode(7));
      expect(leased(host)).toEqual([]);
    },
  );
});

describe('wrong ranges', () => {
  it.for([
    ['no ipam', undefined],
    ['no range at all', {}],
    ['an empty list', { ranges: [] }],
    ['an empty set', { ranges: [[]] }],
    ['an empty subnet', { ranges: [[{ subnet: '' }]] }],
    ['a range without subnet', { ranges: [[{ rangeStart: '10.1.2.3' }]] }],
    ['no prefix length', { subnet: '10.1.2.0' }],
    ['host bits', { subnet: '10.1.2.3/24' }],
    ['IPv6 host bits', { subnet: 'fd00::1/64' }],
    ['a /31', { subnet: '10.1.2.0/31' }],
    ['a /32', { subnet: '10.1.2.0/32' }],
    ['a /127', { subnet: 'fd00::/127' }],
    ['rangeStart outside', { subnet: '10.1.2.0/24', rangeStart: '10.1.3.1' }],
    ['rangeEnd outside', { subnet: '10.1.2.0/24', rangeEnd: '10.1.3.1' }],
    ['rangeStart after rangeEnd', { subnet: '10.1.2.0/24', rangeStart: '10.1.2.9', rangeEnd: '10.1.2.8' }],
    ['rangeStart of the other family', { subnet: '10.1.2.0/24', rangeStart: 'fd00::1' }],
    ['a rangeStart that is no address', { subnet: '10.1.2.0/24', rangeStart: 'first' }],
    ['a gateway that is no address', { subnet: '10.1.2.0/24', gateway: 'here' }],
    ['two families in one set', { ranges: [[{ subnet: '10.1.2.0/24' }, { subnet: 'fd00::/64' }]] }],
    ['overlap within a set', { ranges: [[{ subnet: '10.1.2.0/24' }, { subnet: '10.1.2.0/25' }]] }],
    ['overlap between sets', { ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: '10.1.0.0/16' }]] }],
    ['overlap with the old subnet key', { subnet: '10.1.2.0/24', ranges: [[{ subnet: '10.1.2.0/24' }]] }],
    ['IPv6 overlap', { ranges: [[{ subnet: 'fd00::/64' }], [{ subnet: 'fd00::/48' }]] }],
  ] as const)('%s: refused, and no lease is made', ([, ipam], { host }) => {
    const pod = ipam ? lease(host, ipam) : lease(host, {}, { more: { ipam: undefined } });
    expect(failureOf(pod.call('ADD')).code).toBe(errorCode(7));
    expect(leased(host)).toEqual([]);
  });

  it('parts of one subnet that do not overlap are fine', ({ host }) => {
    const half = { subnet: '10.1.2.0/24', rangeStart: '10.1.2.10', rangeEnd: '10.1.2.19' };
    const other = { subnet: '10.1.2.0/24', rangeStart: '10.1.2.20', rangeEnd: '10.1.2.29' };
    expect(addresses(lease(host, { ranges: [[half], [other]] }))).toEqual(['10.1.2.10/24', '10.1.2.20/24']);
  });

  itOurs('all wrong fields are named', ({ host }) => {
    const ipam = { ranges: [[{ subnet: '10.1.2.3/24' }], [{ subnet: 'fd00::/64', gateway: 'here' }]] };
    const { msg } = failureOf(lease(host, ipam).call('ADD'));
    expect(msg).toContain('ipam.ranges[0][0].subnet');
    expect(msg).toContain('ipam.ranges[1][0].gateway');
  });
});

import { describe, expect, it } from 'vitest';
import { otherOwner, placeOf } from '../../src/agent/address-watch.ts';

describe('otherOwner()', () => {
  it('is who answers for an address of ours', () => {
    const printed = `ARPING 192.168.9.1 from 0.0.0.0 eth0
Unicast reply from 192.168.9.1 [C2:EA:59:E9:70:6D]  0.537ms
Sent 1 probes (1 broadcast(s))
Received 1 response(s)
`;
    expect(otherOwner(printed)).toBe('c2:ea:59:e9:70:6d');
  });

  it.each([
    [
      'nobody answers',
      'ARPING 192.168.9.1 from 0.0.0.0 eth0\nSent 2 probes (2 broadcast(s))\nReceived 0 response(s)\n',
    ],
    ['another program of that name speaks', '60 bytes from c2:ea:59:e9:70:6d (192.168.9.1): index=0 time=1 usec\n'],
    ['nothing is printed', ''],
  ])('is nobody where %s', (_, printed) => {
    expect(otherOwner(printed)).toBeUndefined();
  });
});

describe('placeOf()', () => {
  const shown = [
    {},
    {
      ifname: 'eth0',
      flags: ['BROADCAST', 'UP', 'LOWER_UP'],
      addr_info: [{}, { family: 'inet6', local: 'fd09::1', prefixlen: 64, dadfailed: true, tentative: true }],
    },
  ];

  it('is the link of an address and what the kernel says of it', () => {
    expect(placeOf(shown, 'fd09::1')).toMatchObject({ dev: 'eth0', entry: { dadfailed: true } });
  });

  it.each([
    [shown, 'fd09::2'],
    [[], 'fd09::1'],
    [undefined, 'fd09::1'],
  ])('is none in %j for %s', (list, address) => {
    expect(placeOf(list, address)).toBeUndefined();
  });
});

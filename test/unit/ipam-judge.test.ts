import { describe, expect, it } from 'vitest';
import { type AtPath, type Evidence, judge, type NetworkLease } from '../../src/ipam/judge.ts';
import { formatAddress, parseAddress } from '../../src/net/address.ts';
import { formatOwner } from '../../src/store/lease-files.ts';
import type { Identity, NamespaceIdentity } from '../../src/store/lease-identity.ts';

const second = 1_000_000_000n;
const namespace: NamespaceIdentity = {
  path: '/run/netns/a',
  mountNamespace: 1n,
  device: 4n,
  inode: 100n,
  changed: 5n,
};
const identity: Identity = { bootId: 'now', leasedAt: 900n * second, netns: namespace };

interface Options {
  network?: string;
  id?: string;
  /** null: another suite wrote it. */
  identity?: Identity | null;
}

function lease(address: string, { network = 'net', id = 'c1', identity: made = identity }: Options = {}): NetworkLease {
  const owner = { containerId: id, ifname: 'eth0' };
  const parsed = parseAddress(address)!;
  const entry = { address: parsed, file: `/index/${address}`, ...(made && { identity: made }) };
  const file = { ino: 1, mtimeMs: 1_000_000 };
  return { network, found: { owner, address: parsed, text: formatOwner(owner), file, entry } };
}

interface Host {
  /** By inode number. */
  at?: Record<string, AtPath>;
  elsewhere?: { where: string; certain: boolean };
  links?: readonly string[];
  addresses?: Record<string, string>;
  bootId?: string;
}

const evidence = ({ at = {}, elsewhere, links = [], addresses = {}, bootId = 'now' }: Host = {}): Evidence => ({
  bootId,
  now: 1000n * second,
  nowMs: 1_060_000,
  atPath: (netns) => at[`${netns.inode}`] ?? 'absent',
  heldElsewhere: (netns) => (netns.inode === 100n ? elsewhere : undefined),
  hostLink: (network, owner) => links.find((l) => l === `${network}/${owner.containerId}`),
  addressAt: (address) => addresses[formatAddress(address)],
});

const without: Identity = { bootId: 'now', leasedAt: 0n };

describe('a lease', () => {
  const cases: [string, Options, Host, string, RegExp][] = [
    ['whose namespace is at its path', {}, { at: { 100: 'same' } }, 'live', /namespace \/run\/netns\/a/],
    ['whose namespace is gone', {}, {}, 'leaked', /\/run\/netns\/a is gone/],
    ['whose path leads to another namespace', {}, { at: { 100: 'other' } }, 'leaked', /is another one by now/],
    [
      'whose namespace is mounted elsewhere',
      {},
      { elsewhere: { where: '/mnt/b', certain: true } },
      'live',
      /namespace \/mnt\/b/,
    ],
    [
      'whose namespace’s number a process has',
      {},
      { elsewhere: { where: '/proc/7/ns/net', certain: false } },
      'unknown',
      /\/proc\/7\/ns\/net may be the same/,
    ],
    ['whose path nobody to be seen can tell', {}, { at: { 100: 'unseen' } }, 'unknown', /no process to be seen/],
    ['whose end on the host is there', {}, { links: ['net/c1'] }, 'live', /interface net\/c1/],
    ['whose name has an end in another network', {}, { links: ['other/c1'] }, 'leaked', /is gone/],
    ['of an earlier boot', { identity: { ...identity, bootId: 'then' } }, {}, 'leaked', /earlier boot/],
    [
      'of an earlier boot, whatever is at its path',
      { identity: { ...identity, bootId: 'then' } },
      { at: { 100: 'same' }, links: ['net/c1'] },
      'leaked',
      /earlier boot/,
    ],
    ['that does not know its boot', { identity: { ...identity, bootId: '' } }, { at: { 100: 'same' } }, 'live', /./],
    ['on a host that does not know its boot', {}, { at: { 100: 'same' }, bootId: '' }, 'live', /./],
    ['made without a namespace', { identity: without }, {}, 'unknown', /no namespace was to be seen/],
    [
      'made without a namespace, with its address in one',
      { identity: without },
      { addresses: { '10.0.0.2': 'interface eth0' } },
      'live',
      /interface eth0/,
    ],
    ['of another suite', { identity: null }, {}, 'foreign', /another suite/],
    [
      'of another suite, with its address in a namespace',
      { identity: null },
      { addresses: { '10.0.0.2': 'interface eth0' } },
      'live',
      /interface eth0/,
    ],
    ['of another suite, with an end of ours', { identity: null }, { links: ['net/c1'] }, 'live', /interface/],
    [
      'of a sweep at work',
      { id: 'culvert-sweep', identity: { ...without, leasedAt: 990n * second } },
      {},
      'unknown',
      /just now/,
    ],
    ['of a sweep that died', { id: 'culvert-sweep', identity: without }, {}, 'leaked', /has died/],
  ];
  it.each(cases)('%s', (_name, options, host, state, reason) => {
    const [judged] = judge([lease('10.0.0.2', options)], evidence(host));
    expect(judged).toMatchObject({ state, reason: expect.stringMatching(reason) });
  });

  it('is as old as the monotonic clock says, or by its file in another boot', () => {
    const [mine, earlier] = judge(
      [lease('10.0.0.2'), lease('10.0.0.3', { identity: { ...identity, bootId: 'then' } })],
      evidence(),
    );
    expect(mine!.ageMs).toBe(100_000);
    expect(earlier!.ageMs).toBe(60_000);
  });
});

describe('two leases', () => {
  const other: Identity = { ...identity, netns: { ...namespace, path: '/run/netns/b', inode: 200n } };
  const states = (leases: NetworkLease[], host: Host) => judge(leases, evidence(host)).map((l) => l.state);

  it('of one ADD, one of each family or both of one, are no duplicates', () => {
    const host = { at: { 100: 'same' } } as const;
    expect(states([lease('10.0.0.2'), lease('fd00::2'), lease('10.1.0.2')], host)).toEqual(['live', 'live', 'live']);
  });

  it('of a container attached again: what is there is there of the new one, the old one is leaked', () => {
    const host = { at: { 200: 'same' }, links: ['net/c1'] } as const;
    expect(states([lease('10.0.0.2'), lease('10.0.0.3', { identity: other })], host)).toEqual(['leaked', 'live']);
  });

  it('of a container whose namespaces are both there are duplicates that name each other', () => {
    const judged = judge(
      [lease('10.0.0.2'), lease('10.0.0.3', { identity: other })],
      evidence({ at: { 100: 'same', 200: 'same' } }),
    );
    expect(judged.map((l) => l.state)).toEqual(['duplicate', 'duplicate']);
    expect(judged[0]!.reason).toContain('container c1, interface eth0 also has 10.0.0.3');
  });

  it('of another suite to one container are duplicates, in one family', () => {
    const foreign = { identity: null };
    expect(states([lease('10.0.0.2', foreign), lease('10.0.0.3', foreign)], {})).toEqual(['duplicate', 'duplicate']);
    expect(states([lease('10.0.0.2', foreign), lease('fd00::3', foreign)], {})).toEqual(['foreign', 'foreign']);
  });

  it('of one address in two networks are duplicates, unless one is leaked', () => {
    const [a, b] = [lease('10.0.0.2'), lease('10.0.0.2', { network: 'b', id: 'c2', identity: other })];
    expect(states([a, b], { at: { 100: 'same', 200: 'same' } })).toEqual(['duplicate', 'duplicate']);
    expect(states([a, b], { at: { 200: 'same' } })).toEqual(['leaked', 'live']);
  });
});

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Fields } from '../../src/decode.ts';
import { StoreError } from '../../src/errors.ts';
import { formatAddress, parseAddress } from '../../src/net/address.ts';
import { formatPrefix } from '../../src/net/prefix.ts';
import { decodeRangeSets, type RangeSet } from '../../src/net/range.ts';
import { Leases, type Owner } from '../../src/store/leases.ts';

let dir: string;
let leases: Leases;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'culvert-leases-'));
  leases = new Leases(dir, 'net');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const rangeSet = (...ranges: object[]): RangeSet =>
  Fields.read({ ranges: [ranges] }, '', (f) => decodeRangeSets(f, 'ranges', new Map()))[0]!;

const small = rangeSet({ subnet: '10.0.0.0/29' });
const six = rangeSet({ subnet: 'fd00::/64' });
const owner = (containerId: string, ifname = 'eth0'): Owner => ({ containerId, ifname });

const reserve = (id: string, set = small, requested?: string): string =>
  formatPrefix(leases.reserve(owner(id), 0, set, requested ? parseAddress(requested) : undefined).address);

const reasonOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    if (error instanceof StoreError) return error.reason;
    throw error;
  }
  return 'none';
};

/** All files below the network's folder and the index, as paths. */
const files = (below = dir): string[] =>
  readdirSync(below, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile())
    .map((e) => join(e.parentPath, e.name).slice(dir.length + 1))
    .sort();

/** The addresses that have entries in the index. */
const indexed = (): string[] =>
  files()
    .filter((f) => f.startsWith('.culvert/'))
    .map((f) => f.split('/').at(-1)!.split('@')[0]!);

/** A lease as another suite writes it. */
const foreign = (address: string, content: string): void => {
  mkdirSync(join(dir, 'net'), { recursive: true });
  writeFileSync(join(dir, 'net', address), content);
};

describe('reserve()', () => {
  it("writes host-local's files and nothing else where other suites look", () => {
    expect(leases.reserve(owner('c1'), 3, small)).toEqual({
      address: { address: parseAddress('10.0.0.2'), length: 29 },
      gateway: parseAddress('10.0.0.1'),
    });
    expect(readdirSync(join(dir, 'net')).sort()).toEqual(['10.0.0.2', 'last_reserved_ip.3']);
    expect(readFileSync(join(dir, 'net/10.0.0.2'), 'utf8')).toBe('c1\r\neth0');
    expect(readFileSync(join(dir, 'net/last_reserved_ip.3'), 'utf8')).toBe('10.0.0.2');
    expect(statSync(join(dir, 'net/10.0.0.2')).mode & 0o777).toBe(0o600);
    expect(statSync(join(dir, 'net/last_reserved_ip.3')).mode & 0o777).toBe(0o600);
    expect(statSync(join(dir, 'net')).mode & 0o777).toBe(0o755);
  });

  it('goes round, does not return to a freed address at once, and ends when all are leased', () => {
    expect(['a', 'b'].map((id) => reserve(id))).toEqual(['10.0.0.2/29', '10.0.0.3/29']);
    leases.release(owner('a'));
    expect(['c', 'd', 'e', 'f'].map((id) => reserve(id))).toEqual([
      '10.0.0.4/29',
      '10.0.0.5/29',
      '10.0.0.6/29',
      '10.0.0.2/29',
    ]);
    expect(() => reserve('g')).toThrow('no free address in range set 10.0.0.1-10.0.0.6: all 5 are leased');
    expect(reasonOf(() => reserve('g'))).toBe('exhausted');
    expect(indexed().sort()).toEqual(['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6']);
  });

  it('finds the one free address behind more taken ones than it tries singly', () => {
    const set = rangeSet({ subnet: '10.0.0.0/16' });
    for (let i = 2; i < 3000; i++) foreign(`10.0.${i >> 8}.${i & 255}`, `c${i}\r\neth0`);
    expect(reserve('late', set)).toBe('10.0.11.184/16');
  });

  it.each(['rubbish', '', '10.9.9.9', '10.0.0.1'])('starts at the beginning when the last address is %j', (last) => {
    foreign('last_reserved_ip.0', last);
    expect(reserve('a')).toBe('10.0.0.2/29');
  });

  it('gives a requested address, and the next in turn after it', () => {
    expect(reserve('a', small, '10.0.0.5')).toBe('10.0.0.5/29');
    expect(reserve('b')).toBe('10.0.0.6/29');
  });

  it.each([
    ['taken by another', '10.0.0.2', 'taken'],
    ['the gateway', '10.0.0.1', 'outside'],
    ['no address of the set', '10.0.1.2', 'outside'],
    ['of another family', 'fd00::2', 'outside'],
  ])('refuses a requested address that is %s', (_name, requested, reason) => {
    reserve('a');
    expect(reasonOf(() => reserve('b', small, requested))).toBe(reason);
    expect(indexed()).toEqual(['10.0.0.2']);
  });

  it('refuses a second address of a set, unless one is asked for, and leaves the first alone', () => {
    reserve('a');
    expect(reasonOf(() => reserve('a'))).toBe('duplicate');
    expect(reserve('a', six)).toBe('fd00::2/64');
    expect(reserve('a', small, '10.0.0.4')).toBe('10.0.0.4/29');
    expect(leases.held(owner('a')).map(formatAddress).sort()).toEqual(['10.0.0.2', '10.0.0.4', 'fd00::2']);
    expect(reasonOf(() => leases.reserve(owner('a', 'eth1'), 0, small))).toBe('none');
  });

  it.each(['a\r\neth0', 'a', ' a\r\neth0\n'])('sees a duplicate in a lease of another suite, %j', (content) => {
    foreign('10.0.0.4', content);
    expect(reasonOf(() => reserve('a'))).toBe('duplicate');
    expect(reasonOf(() => reserve('b'))).toBe('none');
  });

  it('sees what another suite leased later, by the lock it leaves', () => {
    reserve('a');
    foreign('10.0.0.4', 'b\r\neth0');
    foreign('lock', '');
    expect(reasonOf(() => reserve('b'))).toBe('duplicate');
    expect(existsSync(join(dir, 'net/lock'))).toBe(false);
  });

  it('sees a lease that was put there by hand, among few', () => {
    reserve('a');
    foreign('10.0.0.4', 'b');
    expect(reasonOf(() => reserve('b'))).toBe('duplicate');
  });

  it('serves an id of any length', () => {
    const id = 'x'.repeat(5000);
    reserve(id);
    expect(leases.release(owner(id)).map(formatAddress)).toEqual(['10.0.0.2']);
  });

  it('ignores an entry without lease, as a killed ADD leaves it', () => {
    reserve('a');
    rmSync(join(dir, 'net/10.0.0.2'));
    rmSync(join(dir, 'net/last_reserved_ip.0'));
    expect(reserve('a')).toBe('10.0.0.2/29');
    expect(leases.held(owner('a')).map(formatAddress)).toEqual(['10.0.0.2']);
  });

  it("goes on when the network's folder was removed by hand", () => {
    reserve('a');
    rmSync(join(dir, 'net'), { recursive: true });
    expect(reserve('b')).toBe('10.0.0.2/29');
    expect(leases.held(owner('a'))).toEqual([]);
  });

  it('says what the filesystem refuses', () => {
    writeFileSync(join(dir, 'net'), '');
    expect(() => reserve('a')).toThrow(/^the lease store fails: EEXIST|^the lease store fails: ENOTDIR/);
    expect(reasonOf(() => reserve('a'))).toBe('io');
    expect(reasonOf(() => leases.requireWritable())).toBe('io');
  });
});

describe('release()', () => {
  it('frees all of an owner and nothing else, and is content with nothing', () => {
    reserve('a');
    reserve('a', six);
    reserve('b');
    expect(leases.release(owner('a')).map(formatAddress).sort()).toEqual(['10.0.0.2', 'fd00::2']);
    expect(leases.release(owner('a'))).toEqual([]);
    expect(new Leases(dir, 'none').release(owner('a'))).toEqual([]);
    expect(existsSync(join(dir, 'none'))).toBe(false);
    expect(indexed()).toEqual(['10.0.0.3']);
    expect(readdirSync(join(dir, '.culvert/net'))).toHaveLength(1);
  });

  it('frees only some when told so', () => {
    reserve('a');
    reserve('a', six);
    expect(leases.release(owner('a'), [parseAddress('fd00::2')!]).map(formatAddress)).toEqual(['fd00::2']);
    expect(leases.held(owner('a')).map(formatAddress)).toEqual(['10.0.0.2']);
  });

  it('frees leases of other suites, with and without index, and leaves nothing in the index', () => {
    foreign('10.0.0.4', 'a\r\neth0');
    foreign('10.0.0.5', 'ab\r\neth0');
    expect(leases.release(owner('a')).map(formatAddress)).toEqual(['10.0.0.4']);
    expect(files()).toEqual(['net/10.0.0.5']);
  });

  it('frees what another suite leased to an owner besides ours', () => {
    reserve('a');
    foreign('fd00::9', 'a\r\neth0');
    foreign('lock', '');
    expect(leases.release(owner('a')).map(formatAddress).sort()).toEqual(['10.0.0.2', 'fd00::9']);
  });

  it('takes the old format, an id alone, only when nothing names the interface', () => {
    foreign('10.0.0.4', 'a');
    foreign('10.0.0.5', 'a\r\neth0');
    expect(leases.held(owner('a')).map(formatAddress)).toEqual(['10.0.0.5']);
    expect(leases.release(owner('a')).map(formatAddress)).toEqual(['10.0.0.5']);
    expect(leases.release(owner('a')).map(formatAddress)).toEqual(['10.0.0.4']);
  });

  it('leaves an address alone that is leased to another by now', () => {
    reserve('a');
    rmSync(join(dir, 'net/10.0.0.2'));
    foreign('10.0.0.2', 'b\r\neth0');
    expect(leases.held(owner('a'))).toEqual([]);
    expect(leases.release(owner('a'))).toEqual([]);
    expect(leases.ownerOf(parseAddress('10.0.0.2')!)).toEqual(owner('b'));
    expect(indexed()).toEqual([]);
  });

  it('finds a lease whose text was lost with the power, and a restored copy that is no hard link', () => {
    reserve('a');
    reserve('b');
    writeFileSync(join(dir, 'net/10.0.0.2'), '');
    rmSync(join(dir, 'net/10.0.0.3'));
    foreign('10.0.0.3', 'b\r\neth0');
    expect(leases.release(owner('a')).map(formatAddress)).toEqual(['10.0.0.2']);
    expect(leases.release(owner('b')).map(formatAddress)).toEqual(['10.0.0.3']);
    expect(indexed()).toEqual([]);
  });
});

describe('sweep()', () => {
  it('keeps what is to be kept, frees the rest, empties the index of leftovers', () => {
    reserve('a');
    reserve('b');
    foreign('10.0.0.5', 'old');
    foreign('10.0.0.6', '');
    foreign('fd00::9', 'c\r\neth0');
    rmSync(join(dir, 'net/10.0.0.3'));
    const asked: Owner[] = [];
    const freed = leases.sweep((o) => {
      asked.push(o);
      return o.containerId === 'a';
    });
    expect(freed.map((f) => `${formatAddress(f.address)} ${f.owner.containerId} ${f.owner.ifname}`).sort()).toEqual([
      '10.0.0.5 old ',
      '10.0.0.6  ',
      'fd00::9 c eth0',
    ]);
    expect(asked).toHaveLength(4);
    expect(indexed()).toEqual(['10.0.0.2']);
    expect(readdirSync(join(dir, 'net')).sort()).toEqual(['10.0.0.2', 'last_reserved_ip.0']);
  });

  it('touches no other network', () => {
    reserve('a');
    new Leases(dir, 'other').reserve(owner('a'), 0, small);
    leases.sweep(() => false);
    expect(files()).toEqual([
      expect.stringContaining('.culvert/other/'),
      'net/last_reserved_ip.0',
      'other/10.0.0.2',
      'other/last_reserved_ip.0',
    ]);
  });
});

describe('after a reboot', () => {
  /** The store as it is in a boot. */
  const inBoot = (id: string): Leases => {
    writeFileSync(join(dir, 'boot'), `${id}\n`);
    return new Leases(dir, 'net', join(dir, 'boot'));
  };
  const fill = (store: Leases): void => {
    for (const id of ['a', 'b', 'c', 'd', 'e']) store.reserve(owner(id), 0, small);
  };

  it('leases of the earlier boot are given again, in turn, but not before there is nothing else', () => {
    const before = inBoot('first');
    for (const id of ['a', 'b']) before.reserve(owner(id), 0, small);
    leases = inBoot('second');
    expect(['c', 'd', 'e'].map((id) => reserve(id))).toEqual(['10.0.0.4/29', '10.0.0.5/29', '10.0.0.6/29']);
    expect(leases.usage([small])).toEqual([{ size: 5n, taken: 3n }]);
    expect(['f', 'g'].map((id) => reserve(id))).toEqual(['10.0.0.2/29', '10.0.0.3/29']);
    expect(reasonOf(() => reserve('h'))).toBe('exhausted');
    expect(readFileSync(join(dir, 'net/10.0.0.2'), 'utf8')).toBe('f\r\neth0');
    expect(indexed()).toHaveLength(5);
  });

  it('so is one that lost its text with the power', () => {
    fill(inBoot('first'));
    writeFileSync(join(dir, 'net/10.0.0.2'), '');
    leases = inBoot('second');
    expect(['f', 'g', 'h', 'i', 'j'].map((id) => reserve(id))).toContain('10.0.0.2/29');
  });

  it('a container that starts again under its id gets a lease without a DEL, and its old one goes', () => {
    inBoot('first').reserve(owner('a'), 0, small);
    leases = inBoot('second');
    expect(reserve('a')).toBe('10.0.0.3/29');
    expect(leases.held(owner('a')).map(formatAddress)).toEqual(['10.0.0.3']);
  });

  it('an address that is asked for is given though the earlier boot leased it', () => {
    inBoot('first').reserve(owner('a'), 0, small, parseAddress('10.0.0.5'));
    leases = inBoot('second');
    expect(reserve('b', small, '10.0.0.5')).toBe('10.0.0.5/29');
    expect(reasonOf(() => reserve('c', small, '10.0.0.5'))).toBe('taken');
  });

  it('leases of other suites stay: nobody knows their boot', () => {
    foreign('10.0.0.2', 'x\r\neth0');
    inBoot('first').reserve(owner('a'), 0, small);
    leases = inBoot('second');
    for (const id of ['c', 'd', 'e', 'f']) reserve(id);
    expect(reasonOf(() => reserve('g'))).toBe('exhausted');
    expect(readFileSync(join(dir, 'net/10.0.0.2'), 'utf8')).toBe('x\r\neth0');
  });

  it('where the boot is not known, nothing is of an earlier one', () => {
    fill(inBoot('first'));
    leases = new Leases(dir, 'net', join(dir, 'nowhere'));
    expect(reasonOf(() => reserve('f'))).toBe('exhausted');
  });

  it('a full pool has room as long as something in it is of the earlier boot', () => {
    fill(inBoot('first'));
    expect(inBoot('first').usage([small])).toEqual([{ size: 5n, taken: 5n }]);
    expect(inBoot('second').usage([small])).toEqual([{ size: 5n, taken: 0n }]);
  });
});

describe('free()', () => {
  const found = (address: string) => leases.list().find((f) => formatAddress(f.address) === address)!;

  it('frees the lease that was found', () => {
    reserve('a');
    expect(leases.free(found('10.0.0.2'))).toBe(true);
    expect(files()).toEqual(['net/last_reserved_ip.0']);
  });

  it.each(['a', 'b'])('leaves a later lease of the address alone, though it be to %s', (id) => {
    reserve('a');
    const earlier = found('10.0.0.2');
    leases.release(owner('a'));
    reserve(id, small, '10.0.0.2');
    expect(leases.free(earlier)).toBe(false);
    expect(leases.held(owner(id)).map(formatAddress)).toEqual(['10.0.0.2']);
    expect(indexed()).toEqual(['10.0.0.2']);
  });

  it('puts back a lease that was made between the look and the move', () => {
    reserve('a');
    const earlier = found('10.0.0.2');
    leases.release(owner('a'));
    reserve('a', small, '10.0.0.2');
    // the same file to the first look: only its entry tells the difference
    expect(leases.free({ ...found('10.0.0.2'), entry: earlier.entry })).toBe(false);
    expect(leases.held(owner('a')).map(formatAddress)).toEqual(['10.0.0.2']);
    expect(files()).toEqual([expect.stringMatching(/^\.culvert/), 'net/10.0.0.2', 'net/last_reserved_ip.0']);
  });

  it('what died with a wrong lease in hand is mended: the lease is back', () => {
    reserve('a');
    const entry = files().find((f) => f.startsWith('.culvert'))!;
    const stale = entry.replace(/[^/]*$/, `freed.7.10.0.0.2@boot@1`);
    renameSync(join(dir, 'net/10.0.0.2'), join(dir, stale));
    leases.tidy();
    expect(readFileSync(join(dir, 'net/10.0.0.2'), 'utf8')).toBe('a\r\neth0');
    expect(leases.held(owner('a')).map(formatAddress)).toEqual(['10.0.0.2']);
    expect(existsSync(join(dir, stale))).toBe(false);
  });

  it('what died with the right lease in hand is finished', () => {
    reserve('a');
    const entry = files().find((f) => f.startsWith('.culvert'))!;
    renameSync(join(dir, 'net/10.0.0.2'), join(dir, entry.replace(/([^/]*)$/, 'freed.7.$1')));
    leases.tidy();
    expect(files()).toEqual(['net/last_reserved_ip.0']);
  });
});

describe('replace()', () => {
  it('keeps the address from everybody, and from DEL and GC, until the placeholder is freed', () => {
    reserve('a');
    const { freed, placeholder } = leases.replace(leases.list()[0]!);
    expect(freed).toBe(true);
    expect(leases.release(owner('a'))).toEqual([]);
    expect(leases.sweep(() => false)).toEqual([]);
    expect(reasonOf(() => reserve('b', small, '10.0.0.2'))).toBe('taken');
    expect(reserve('a')).toBe('10.0.0.3/29');
    expect(leases.free(placeholder!)).toBe(true);
    expect(reserve('b', small, '10.0.0.2')).toBe('10.0.0.2/29');
  });

  it('does nothing to a later lease', () => {
    reserve('a');
    const [earlier] = leases.list();
    leases.release(owner('a'));
    reserve('b', small, '10.0.0.2');
    expect(leases.replace(earlier!)).toEqual({ freed: false });
    expect(leases.held(owner('b')).map(formatAddress)).toEqual(['10.0.0.2']);
  });
});

describe('usage()', () => {
  it('counts per set, gateways left out', () => {
    reserve('a');
    foreign('10.0.0.1', 'x');
    expect(leases.usage([small, six])).toEqual([
      { size: 5n, taken: 1n },
      { size: 2n ** 64n - 2n, taken: 0n },
    ]);
  });
});

describe('requireWritable()', () => {
  it('is content with a folder that can be made', () => {
    expect(reasonOf(() => new Leases(join(dir, 'a/b'), 'net').requireWritable())).toBe('none');
    expect(files()).toEqual([]);
  });
});

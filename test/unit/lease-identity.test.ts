import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseAddress } from '../../src/net/address.ts';
import { formatEntry, type Identity, identify, parseEntry, readBootId } from '../../src/store/lease-identity.ts';

const address = parseAddress('fd00::2')!;
const bootId = '0bb7efa1-6622-457a-a8f5-77612c04f688';
const netns = {
  path: '/var/run/netns/cni-1 @%é',
  mountNamespace: 4026531841n,
  device: 4n,
  inode: 4026532674n,
  changed: 1795259720484591689n,
};

describe('an entry’s name', () => {
  it.each<[string, Identity]>([
    ['a namespace', { bootId, leasedAt: 13284006180524n, netns }],
    ['no namespace', { bootId, leasedAt: 1n }],
    ['no boot either', { bootId: '', leasedAt: 0n }],
  ])('comes back as it was, with %s', (_name, identity) => {
    const name = formatEntry(address, identity);
    expect(name).not.toContain('/');
    expect(parseEntry(name)).toEqual({ address, identity });
  });

  it('leaves out a path that would make it too long for a file, and keeps the rest', () => {
    const long = { ...netns, path: `/run/${'é'.repeat(100)}` };
    const name = formatEntry(address, { bootId, leasedAt: 1n, netns: long });
    expect(Buffer.byteLength(name)).toBeLessThan(230);
    expect(parseEntry(name)?.identity?.netns).toEqual({ ...long, path: '' });
  });

  it('of a lease that another suite wrote is its address', () => {
    expect(parseEntry('10.0.0.2')).toEqual({ address: parseAddress('10.0.0.2') });
  });

  it.each([
    '',
    'lock',
    'last_reserved_ip.0',
    '10.0.0.256@b@1',
    '10.0.0.2@b',
    '10.0.0.2@b@x',
    '10.0.0.2@b@1@2@3@4',
    'freed.7.10.0.0.2@b@1',
  ])('is not %j', (name) => expect(parseEntry(name)).toBeUndefined());

  it('is read though its path is spoilt', () => {
    expect(parseEntry('10.0.0.2@b@1@2@3.4.5@%E9%')?.identity?.netns?.path).toBe('');
  });
});

describe('identify()', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'culvert-identity-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('takes a file’s time, and none where a link leads to it: nothing may pin what is behind', () => {
    writeFileSync(join(dir, 'file'), '');
    symlinkSync('file', join(dir, 'link'));
    const [file, link] = ['file', 'link'].map((name) => identify(join(dir, name), bootId).netns!);
    expect(link).toEqual({ ...file, path: join(dir, 'link'), changed: 0n });
    expect(file!.changed).toBeGreaterThan(0n);
  });

  it.each(['', 'relative', '/nowhere/at/all', '/proc/self/status/x'])('says nothing of a namespace at %j', (path) => {
    expect(identify(path, bootId)).toEqual({ bootId, leasedAt: expect.any(BigInt) });
  });

  it('knows the kernel’s boot, and no boot where the file is missing', () => {
    if (existsSync('/proc/sys/kernel/random/boot_id')) expect(readBootId()).toMatch(/^[0-9a-f-]{36}$/);
    expect(readBootId(join(dir, 'none'))).toBe('');
  });
});

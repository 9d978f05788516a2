import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { decodeConfig } from '../../src/agent/config.ts';
import { withKeys } from '../../src/agent/keys.ts';
import { ConfigError } from '../../src/errors.ts';
import { ensurePublicKey, markOf, readPresharedMark, readPublicKey } from '../../src/store/keys.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'culvert-keys-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const write = (name: string, text: string, mode = 0o600): string => {
  const file = join(dir, name);
  writeFileSync(file, text);
  chmodSync(file, mode);
  return file;
};

describe('the private key', () => {
  it('is made once, in a folder that may not be there yet, for its owner only', () => {
    const file = join(dir, 'state', 'wireguard.key');
    const publicKey = ensurePublicKey(file);
    expect(publicKey).toMatch(/^[A-Za-z0-9+/]{43}=$/);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(dir, 'state'))).toEqual(['wireguard.key']);
    expect(ensurePublicKey(file)).toBe(publicKey);
    expect(readPublicKey(file)).toBe(publicKey);
  });

  it('is another on another node', () => {
    expect(ensurePublicKey(join(dir, 'a'))).not.toBe(ensurePublicKey(join(dir, 'b')));
  });

  it('has the public key that `wg pubkey` tells', () => {
    const file = write('k', `${Buffer.from(Array.from({ length: 32 }, (_, i) => i + 1)).toString('base64')}\n`);
    expect(readPublicKey(file)).toBe('B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw=');
  });

  it.each<[string, string, number, RegExp]>([
    ['others may read', `${Buffer.alloc(32, 1).toString('base64')}\n`, 0o644, /mode 0644, want .*chmod 600/],
    ['holds no key', 'secret words\n', 0o600, /want a WireGuard key/],
    ['is too short', `${Buffer.alloc(31, 1).toString('base64')}\n`, 0o600, /want a WireGuard key/],
    ['is empty', '', 0o600, /want a WireGuard key/],
  ])('is refused when its file %s, without a word of it', (_name, text, mode, message) => {
    const file = write('k', text, mode);
    for (const read of [readPublicKey, ensurePublicKey]) {
      expect(() => read(file)).toThrow(ConfigError);
      expect(() => read(file)).toThrow(message);
      if (text) expect(() => read(file)).not.toThrow(text.trim());
    }
    expect(readFileSync(file, 'utf8')).toBe(text);
  });
});

describe('the preshared key', () => {
  it('is known by a mark that does not hold it', () => {
    const key = Buffer.alloc(32, 7).toString('base64');
    const mark = readPresharedMark(write('psk', `${key}\n`));
    expect(mark).toBe(markOf(key));
    expect(mark).not.toContain(key.slice(0, 8));
  });

  it('is named when its file is missing', () => {
    expect(() => readPresharedMark(join(dir, 'none'))).toThrow(/no such file, want a preshared key/);
  });
});

describe('withKeys()', () => {
  const config = (more: object) => decodeConfig({ node: 'n1', paths: { state: join(dir, 'state') }, ...more });

  it('makes no key where no mode needs one, nor when told not to', () => {
    expect(withKeys(config({}), true).wireguard.keys).toBeUndefined();
    expect(withKeys(config({ mode: 'wireguard' }), false).wireguard.keys).toBeUndefined();
    expect(readdirSync(dir)).toEqual([]);
  });

  it.each([{ mode: 'wireguard' }, { betweenSites: 'wireguard' }])('finds or makes it for %o', (more) => {
    const { keys } = withKeys(config(more), true).wireguard;
    expect(keys?.privateKeyFile).toBe(join(dir, 'state/wireguard.key'));
    expect(withKeys(config(more), false).wireguard.keys).toEqual(keys);
  });

  it('refuses a state folder that is no word of a command line', () => {
    const odd = config({ mode: 'wireguard', paths: { state: join(dir, 'a b') } });
    expect(() => withKeys(odd, true)).toThrow(/a path without blanks and quotes/);
  });
});

/**
 * Secrets on disk: WireGuard's keys, passwords of BGP sessions. A private key is made once, lies in a file that only its owner may read, and goes to the kernel by the
 * name of that file: it is in no argument, no log and no message.
 */

import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { ConfigError } from '../errors.ts';

/** PKCS #8 of an X25519 private key, without the key (RFC 8410 section 7). */
const pkcs8Head = Buffer.from('302e020100300506032b656e04220420', 'hex');

const wantKey = 'a WireGuard key: 44 characters of base64 that mean 32 bytes';

/** The 32 bytes of a key's text; throws ConfigError that names the file and not the text. */
function decodeKey(text: string, file: string): Buffer {
  const key = Buffer.from(text.trim(), 'base64');
  if (key.length === 32 && key.toString('base64') === text.trim()) return key;
  throw new ConfigError([{ path: file, got: 'something else', want: wantKey }]);
}

/** A key file's text; undefined when there is none. Throws ConfigError when others may read it. */
function readSecret(file: string): string | undefined {
  const stats = statSync(file, { throwIfNoEntry: false });
  if (!stats) return undefined;
  const mode = (stats.mode & 0o777).toString(8).padStart(4, '0');
  if (stats.mode & 0o077) {
    throw new ConfigError([{ path: file, got: `mode ${mode}`, want: `a file for its owner only: chmod 600 ${file}` }]);
  }
  return readFileSync(file, 'utf8');
}

/** The public key that belongs to a private key's file; undefined when there is no such file. Throws ConfigError. */
export function readPublicKey(file: string): string | undefined {
  const text = readSecret(file);
  if (text === undefined) return undefined;
  const der = Buffer.concat([pkcs8Head, decodeKey(text, file)]);
  const { x } = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })).export({ format: 'jwk' });
  return Buffer.from(x!, 'base64url').toString('base64');
}

/** The same; makes the key when it is absent. Of two that make one at a time, the first one's stays. */
export function ensurePublicKey(file: string): string {
  const known = readPublicKey(file);
  if (known !== undefined) return known;
  const { d } = generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' });
  mkdirSync(dirname(file), { recursive: true });
  const next = `${file}.${randomBytes(4).toString('hex')}`;
  const fd = openSync(next, 'wx', 0o600);
  try {
    writeFileSync(fd, `${Buffer.from(d!, 'base64url').toString('base64')}\n`);
    fsyncSync(fd);
    linkSync(next, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    closeSync(fd);
    rmSync(next);
  }
  return readPublicKey(file)!;
}

/** What tells one preshared key from another without giving any away. */
export const markOf = (key: string): string =>
  createHash('sha256').update(`culvert preshared\0${key}`).digest('hex').slice(0, 16);

/** The mark of the preshared key in a file. Throws ConfigError when it is not there or no key. */
export function readPresharedMark(file: string): string {
  const text = readSecret(file);
  if (text === undefined) {
    throw new ConfigError([{ path: file, got: 'no such file', want: 'a preshared key, as "wg genpsk" makes it' }]);
  }
  return markOf(decodeKey(text, file).toString('base64'));
}

const wantPassword = 'one line of at most 80 characters, without a double quote';

/** The password in a file, for TCP's signatures (RFC 2385; the kernel takes 80 bytes). Throws ConfigError that does not quote it. */
export function readPassword(file: string): string {
  const text = readSecret(file)?.replace(/\r?\n$/, '');
  if (text === undefined) throw new ConfigError([{ path: file, got: 'no such file', want: 'a password on one line' }]);
  // BIRD's text knows no escapes
  if (/^[\x20\x21\x23-\x7e]{1,80}$/.test(text)) return text;
  throw new ConfigError([{ path: file, got: 'something else', want: wantPassword }]);
}

import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { sha256 } from '../../src/net/sha256.ts';

describe('sha256()', () => {
  it("is OpenSSL's, for every length around its blocks and for text that is not ASCII", () => {
    const texts = Array.from({ length: 200 }, (_, n) => 'aé€😀\0'.repeat(n).slice(0, n));
    for (const text of texts) expect(sha256(text)).toBe(createHash('sha256').update(text).digest('hex'));
  });

  it('has the digests of FIPS 180-4', () => {
    expect(sha256('')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    expect(sha256('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });
});

import { expect, it } from 'vitest';
import { withoutCodeCache, withSnapshotAsMain } from '../../scripts/sea.ts';

const header = Buffer.from('20da4301190000000100090000000000000', 'hex');
const executable = (...parts: (string | Buffer)[]): Buffer => Buffer.concat(parts.map((p) => Buffer.from(p)));

it('marks the main script of a single executable as a snapshot, and changes nothing else', () => {
  const before = executable('code', header.subarray(0, 10), Buffer.from([9, 0, 0, 0, 0, 0, 0, 0]), 'main.blob', 'rest');
  const after = withSnapshotAsMain(Buffer.from(before), 'main.blob');
  expect([...after.entries()].filter(([i, byte]) => byte !== before[i])).toEqual([[8, 0x1b]]);
});

it.each([
  ['no header', executable('code', 'main.blob')],
  ['another main', executable(header.subarray(0, 10), Buffer.from([9, 0, 0, 0, 0, 0, 0, 0]), 'main.text')],
])('refuses an executable with %s', (_, bytes) => {
  expect(() => withSnapshotAsMain(bytes, 'main.blob')).toThrow(
    'no header of a single executable with main "main.blob"',
  );
});

const u64 = (n: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(n));
  return bytes;
};
const codeOf = (id: string): Buffer => Buffer.concat([u64(id.length), Buffer.from(id), u64(5), Buffer.from('\0code')]);
const codeCache = Buffer.concat([u64(440), ...Array.from({ length: 440 }, (_, i) => codeOf(`internal/m${i}`))]);

it('takes the code cache out of a snapshot, and leaves a vector of none', () => {
  const heap = Buffer.concat([Buffer.from('heap'), u64(440), codeOf('a list of names, not the code cache')]);
  expect(withoutCodeCache(Buffer.concat([heap, codeCache]))).toEqual(Buffer.concat([heap, u64(0)]));
});

it('is not misled by other numbers that lead to the end', () => {
  // fewer entries than it says, and as many, without names
  const few = Buffer.concat([u64(440), u64(0), u64(codeCache.length)]);
  const zeros = Buffer.concat([u64(100), Buffer.alloc(99 * 16), u64(0), u64(codeCache.length)]);
  for (const before of [few, zeros]) {
    expect(withoutCodeCache(Buffer.concat([before, codeCache]))).toEqual(Buffer.concat([before, u64(0)]));
  }
});

it.each([
  ['none at all', Buffer.from('heap')],
  ['something after it', Buffer.concat([codeCache, Buffer.from('checksum')])],
  ['its end cut off', codeCache.subarray(0, -1)],
])('refuses a snapshot with %s', (_, snapshot) => {
  expect(() => withoutCodeCache(snapshot)).toThrow('no code cache at the end of the snapshot');
});

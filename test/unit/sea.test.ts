import { expect, it } from 'vitest';
import { withSnapshotAsMain } from '../../scripts/sea.ts';

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

import { describe, expect, it } from 'vitest';
import { formatAnswer, longest, parseExecution } from '../../src/serve/wire.ts';

const names = (...texts: string[]): Buffer => Buffer.from(texts.map((text) => `${text}\0`).join(''));
const execution = (block: Buffer, input: string): Buffer =>
  Buffer.concat([Buffer.from(`${block.length} ${Buffer.byteLength(input)}\n`), block, Buffer.from(input)]);

describe('an execution', () => {
  const whole = execution(names('bridge', 'CNI_COMMAND=ADD', 'CNI_ARGS=A=1;B=2', 'EMPTY='), '{"name":"⛵"}');

  it('has a name, an environment and an input', () => {
    expect(parseExecution(whole)).toEqual({
      name: 'bridge',
      env: { CNI_COMMAND: 'ADD', CNI_ARGS: 'A=1;B=2', EMPTY: '' },
      input: '{"name":"⛵"}',
    });
    expect(parseExecution(execution(names('bridge'), ''))).toEqual({ name: 'bridge', env: {}, input: '' });
  });

  it('is none before its last byte', () => {
    for (let length = 0; length < whole.length; length++) {
      expect(parseExecution(whole.subarray(0, length)), `${length} bytes`).toBeUndefined();
    }
  });

  it.each([
    ['more than it says', Buffer.concat([whole, Buffer.from('x')])],
    ['no lengths', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n')],
    ['lengths below nothing', Buffer.from('-1 5\nxxxxx')],
    ['a head without an end', Buffer.from('1'.repeat(64))],
    ['more than fits', Buffer.from(`7 ${longest}\nbridge\0`)],
  ])('is refused with %s', (_, bytes) => {
    expect(() => parseExecution(bytes)).toThrow('no execution');
  });
});

it('an answer tells lengths in bytes', () => {
  expect(formatAnswer({ exitCode: 1, stderr: 'ü\n', stdout: '{}\n' })).toBe('1 3 3\nü\n{}\n');
});

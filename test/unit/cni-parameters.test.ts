import { describe, expect, it } from 'vitest';
import { readConf, readValidAttachments } from '../../src/cni/conf.ts';
import { readArgs, readParameters } from '../../src/cni/env.ts';
import { code, encodeError, toCniError } from '../../src/cni/error.ts';
import { CniError, CommandError, ConfigError, StoreError } from '../../src/errors.ts';

const complete = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c', CNI_NETNS: '/n', CNI_IFNAME: 'eth0', CNI_PATH: '/a::/b' };

/** What a function throws. */
function thrown(run: () => unknown): CniError {
  try {
    run();
  } catch (error) {
    return error as CniError;
  }
  throw new Error('nothing was thrown');
}

describe('readParameters()', () => {
  it('splits CNI_PATH and leaves empty parts out', () => {
    expect(readParameters(complete).path).toEqual(['/a', '/b']);
  });

  it('needs nothing but the command for VERSION', () => {
    expect(readParameters({ CNI_COMMAND: 'VERSION' }).command).toBe('VERSION');
  });

  it.each([
    ['ADD', 'CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH'],
    ['CHECK', 'CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH'],
    ['DEL', 'CNI_CONTAINERID,CNI_IFNAME,CNI_PATH'],
    ['GC', 'CNI_PATH'],
    ['STATUS', 'CNI_PATH'],
  ])('names all that %s misses', (command, names) => {
    const error = thrown(() => readParameters({ CNI_COMMAND: command }));
    expect([error.code, error.message]).toEqual([4, `required env variables [${names}] missing`]);
  });

  it('names all that is wrong at once', () => {
    const error = thrown(() =>
      readParameters({ ...complete, CNI_CONTAINERID: 'a/b', CNI_IFNAME: '..', CNI_NETNS: 'a\nb' }),
    );
    expect(error.code).toBe(4);
    expect(error.message.match(/CNI_[A-Z]+/g)).toEqual(['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME']);
  });

  it('minds CNI_NETNS of DEL when there is one', () => {
    expect(thrown(() => readParameters({ ...complete, CNI_COMMAND: 'DEL', CNI_NETNS: 'a\u0000b' })).code).toBe(4);
  });
});

describe('readArgs()', () => {
  it.each([
    ['', {}],
    ['IP=10.1.2.3', { IP: '10.1.2.3' }],
    ['IP=', { IP: '' }],
    ['IgnoreUnknown=1;A=b;IP=x', { IP: 'x', IgnoreUnknown: '1' }],
    ['A=b;IP=x;IgnoreUnknown=TRUE', { IP: 'x', IgnoreUnknown: 'TRUE' }],
  ])('reads %j', (text, want) => {
    expect(Object.fromEntries(readArgs(text, ['IP']))).toEqual(want);
  });

  it.each(['A=b', 'IgnoreUnknown=0;A=b', 'IP', 'IP=a=b', ';', 'IgnoreUnknown=maybe', '__proto__=x'])(
    'refuses %j',
    (text) => {
      expect(thrown(() => readArgs(text, ['IP'])).code).toBe(4);
    },
  );
});

describe('readConf()', () => {
  it('takes a configuration without version as 0.1.0', () => {
    expect(readConf('{"name":"n"}', 'ADD')).toMatchObject({ cniVersion: '0.1.0', name: 'n' });
  });

  it.each([
    ['', 'ADD', 6],
    ['null', 'ADD', 6],
    ['[]', 'ADD', 6],
    ['{"name":"n","cniVersion":1}', 'ADD', 6],
    ['{}', 'ADD', 7],
    ['{"name":"a b"}', 'ADD', 7],
    ['{"name":"n","cniVersion":"5.0.0"}', 'ADD', 1],
    ['{"name":"n","cniVersion":"0.3.1"}', 'CHECK', 1],
    ['{"name":"n","cniVersion":"1.0.0"}', 'GC', 1],
    ['{"name":"n","cniVersion":"1.0.0"}', 'STATUS', 1],
  ] as const)('refuses %s for %s with code %d', (text, command, want) => {
    expect(thrown(() => readConf(text, command)).code).toBe(want);
  });
});

describe('readValidAttachments()', () => {
  const key = 'cni.dev/valid-attachments';

  it('takes absence and null as the empty list', () => {
    expect([readValidAttachments({}), readValidAttachments({ [key]: null })]).toEqual([[], []]);
  });

  it('reads the specification’s keys', () => {
    const list = [{ containerID: 'a', ifname: 'eth0', more: 1 }];
    expect(readValidAttachments({ [key]: list })).toEqual([{ containerId: 'a', ifname: 'eth0' }]);
  });

  it('lists every item that is wrong', () => {
    const error = thrown(() =>
      readValidAttachments({ [key]: [5, { containerID: 'a', ifname: 'b' }, { ifname: 'c' }] }),
    );
    expect((error as unknown as ConfigError).problems.map((p) => p.path)).toEqual([`${key}[0]`, `${key}[2]`]);
  });
});

describe('toCniError()', () => {
  const problem = { path: 'mtu', got: '"x"', want: 'a number' };
  it.each([
    [new CniError(11, 'later'), 11],
    [new ConfigError([problem]), 7],
    [new StoreError('exhausted', 'full'), code.exhausted],
    [new StoreError('taken', 'taken'), code.taken],
    [new StoreError('outside', 'outside'), 7],
    [new StoreError('locked', 'locked'), 11],
    [new StoreError('io', 'io'), 5],
    [new CommandError(['ip'], 1, 'busy', 'busy'), 11],
    [new CommandError(['ip'], 1, 'no', 'unsupported'), code.unsupported],
    [new CommandError(['ip'], undefined, '', 'no-program'), code.command],
    [new CommandError(['ip'], 2, 'bad', 'other'), code.command],
    [new TypeError('bug'), 999],
    ['text', 999],
  ])('%s has code %d', (error, want) => {
    expect(toCniError(error).code).toBe(want);
  });

  it('keeps the problems of a configuration as details for programs', () => {
    expect(JSON.parse(toCniError(new ConfigError([problem])).details)).toEqual([problem]);
  });

  it('is written without details when there are none', () => {
    expect(encodeError(new CniError(3, 'gone'), '1.0.0')).toEqual({ cniVersion: '1.0.0', code: 3, msg: 'gone' });
  });
});

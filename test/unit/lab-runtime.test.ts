import { describe, expect, it } from 'vitest';
import { createRuntime, type Execution, parseConfList } from '../../src/lab/runtime.ts';

const conflist = (cniVersion: string) =>
  parseConfList(JSON.stringify({ cniVersion, name: 'net', plugins: [{ type: 'first', key: 1 }, { type: 'second' }] }));
const container = { id: 'c1', netns: '/run/netns/c1', ifname: 'eth0' };

/** Plugins that answer with their own name; one of them may fail. */
function fake(failing?: string) {
  const calls: { type: string; command: string; env: Record<string, string>; conf: Record<string, unknown> }[] = [];
  const exec = async ({ type, env, stdin }: Execution) => {
    const command = env['CNI_COMMAND']!;
    calls.push({ type, command, env, conf: JSON.parse(stdin) as Record<string, unknown> });
    if (`${command} ${type}` === failing)
      return { exitCode: 1, stdout: '{"code":11,"msg":"not now","details":"busy"}', stderr: '' };
    return { exitCode: 0, stdout: command === 'ADD' ? JSON.stringify({ by: type }) : '', stderr: '' };
  };
  return { runtime: createRuntime(exec, '/bin/cni'), calls, order: () => calls.map((c) => `${c.command} ${c.type}`) };
}

describe('createRuntime()', () => {
  it('adds in the order of the list, each plugin hearing the result before it', async () => {
    const { runtime, calls, order } = fake();
    const attachment = await runtime.add(conflist('1.0.0'), container);
    expect(order()).toEqual(['ADD first', 'ADD second']);
    expect(calls.map((c) => c.conf)).toEqual([
      { type: 'first', key: 1, name: 'net', cniVersion: '1.0.0' },
      { type: 'second', name: 'net', cniVersion: '1.0.0', prevResult: { by: 'first' } },
    ]);
    expect(calls[0]!.env).toEqual({
      CNI_COMMAND: 'ADD',
      CNI_PATH: '/bin/cni',
      CNI_CONTAINERID: 'c1',
      CNI_NETNS: '/run/netns/c1',
      CNI_IFNAME: 'eth0',
    });
    expect(attachment.result).toEqual({ by: 'second' });
  });

  it('deletes in reverse, every plugin hearing the last result', async () => {
    const { runtime, calls, order } = fake();
    await runtime.del({ confList: conflist('1.0.0'), container, result: { by: 'second' } });
    expect(order()).toEqual(['DEL second', 'DEL first']);
    expect(calls.map((c) => c.conf['prevResult'])).toEqual([{ by: 'second' }, { by: 'second' }]);
  });

  it('deletes everything when an ADD fails, and tells of the ADD', async () => {
    const { runtime, order } = fake('ADD second');
    await expect(runtime.add(conflist('1.0.0'), container)).rejects.toThrow(
      'plugin "second": ADD: not now: busy (code 11)',
    );
    expect(order()).toEqual(['ADD first', 'ADD second', 'DEL second', 'DEL first']);
  });

  it('checks in the order of the list, from 0.4.0 on', async () => {
    const { runtime, order } = fake();
    await runtime.check({ confList: conflist('0.4.0'), container, result: {} });
    await runtime.check({ confList: conflist('0.3.1'), container, result: {} });
    expect(order()).toEqual(['CHECK first', 'CHECK second']);
  });

  it('collects garbage from 1.1.0 on, naming what is alive', async () => {
    const { runtime, calls } = fake();
    await runtime.gc(conflist('1.1.0'), [container]);
    await runtime.gc(conflist('1.0.0'), [container]);
    expect(calls.map((c) => c.conf['cni.dev/valid-attachments'])).toEqual([
      [{ containerID: 'c1', ifname: 'eth0' }],
      [{ containerID: 'c1', ifname: 'eth0' }],
    ]);
    expect(calls[0]!.env).toEqual({ CNI_COMMAND: 'GC', CNI_PATH: '/bin/cni' });
  });
});

describe('parseConfList()', () => {
  it.each([
    ['no name', '{"plugins":[{"type":"x"}]}'],
    ['no plugins', '{"name":"n"}'],
    ['a plugin without a type', '{"name":"n","plugins":[{}]}'],
  ])('refuses a list with %s', (_name, text) => {
    expect(() => parseConfList(text)).toThrow('network configuration list');
  });
});

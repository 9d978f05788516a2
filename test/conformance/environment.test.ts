/** The CNI_* variables (spec section 2, "Parameters"): what each command needs, and code 4 naming what is missing or wrong. */

import { spawn } from 'node:child_process';
import { describe, expect } from 'vitest';
import { it, itOurs } from '../support/case.ts';
import { type Call, inside } from '../support/netns.ts';
import { failureOf, fine, resultOf } from '../support/pod.ts';
import { errorCode } from '../support/suite.ts';

const conf = { cniVersion: '1.1.0', name: 'net', type: 'loopback' };
const complete = { containerId: 'c1', netns: '/run/netns/nowhere', ifname: 'eth0' };
const call = (command: string, more: Partial<Call> = {}): Call => ({ plugin: 'loopback', command, conf, ...more });

describe('missing variables', () => {
  it.for([
    ['ADD', ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH']],
    ['CHECK', ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH']],
    ['DEL', ['CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_PATH']],
    ['GC', ['CNI_PATH']],
    ['STATUS', ['CNI_PATH']],
  ] as const)('%s names all of them with code 4', ([command, names], { host }) => {
    const error = failureOf(host.call(call(command, { path: '' })));
    expect(error.code).toBe(4);
    for (const name of names) expect(error.msg).toContain(name);
  });

  it.for([
    ['ADD', 'CNI_CONTAINERID'],
    ['ADD', 'CNI_NETNS'],
    ['ADD', 'CNI_IFNAME'],
    ['ADD', 'CNI_PATH'],
    ['CHECK', 'CNI_CONTAINERID'],
    ['CHECK', 'CNI_NETNS'],
    ['CHECK', 'CNI_IFNAME'],
    ['CHECK', 'CNI_PATH'],
    ['DEL', 'CNI_CONTAINERID'],
    ['DEL', 'CNI_IFNAME'],
    ['DEL', 'CNI_PATH'],
  ] as const)('%s without %s says so and names no other', ([command, name], { host }) => {
    const error = failureOf(host.call(call(command, { ...complete, env: { [name]: '' } })));
    expect(error.code).toBe(4);
    expect(error.msg.match(/CNI_[A-Z]+/g)).toEqual([name]);
  });

  it('DEL does without CNI_NETNS: the container may be gone', ({ host }) => {
    fine(host.call(call('DEL', { containerId: 'c1', ifname: 'eth0' })));
  });
});

describe('wrong variables', () => {
  it.for(['../escape', '/etc', '.hidden', '-option', '_x', 'a b', 'a;b', 'a\nb', 'a$(id)', 'ünïcode', 'a/b', 'a"b'])(
    'the container id %j is refused with code 4',
    (containerId, { host }) => {
      expect(failureOf(host.call(call('ADD', { ...complete, containerId }))).code).toBe(4);
    },
  );

  it.for(['a', 'A1', '0', 'a_b.c-d', 'x'.repeat(64), '1.2.3'])(
    'the container id %j is accepted',
    (containerId, { host }) => {
      fine(host.call(call('DEL', { ...complete, containerId })));
    },
  );

  it.for(['.', '..', 'a/b', 'a:b', 'a b', 'a\tb', 'a\nb', 'x'.repeat(16)])(
    'the interface name %j is refused with code 4',
    (ifname, { host }) => {
      expect(failureOf(host.call(call('ADD', { ...complete, ifname }))).code).toBe(4);
    },
  );

  itOurs.for([
    ['containerId', 'a b', 'CNI_CONTAINERID'],
    ['ifname', 'a b', 'CNI_IFNAME'],
    ['netns', '/run/netns/a\nb', 'CNI_NETNS'],
  ] as const)('a wrong %s %j is named as the variable it came in', ([key, value, name], { host }) => {
    const error = failureOf(host.call(call('ADD', { ...complete, [key]: value })));
    expect(error.code).toBe(4);
    expect(error.msg).toContain(name);
  });

  it('the interface name may have 15 bytes', ({ host }) => {
    fine(host.call(call('DEL', { ...complete, ifname: 'x'.repeat(15) })));
  });
});

describe('unknown commands', () => {
  it.for(['FOO', 'add', 'ADD ', 'UPDATE', '__proto__', 'constructor'])(
    '%j is refused with code 4 and named',
    (command, { host }) => {
      const error = failureOf(host.call(call(command, complete)));
      expect(error.code).toBe(4);
      expect(error.msg).toContain(command);
    },
  );
});

describe('CNI_NETNS', () => {
  itOurs('the very namespace the plugin runs in is refused by ADD with code 8, before anything is done', ({ host }) => {
    host.exec('ip link set lo down');
    expect(failureOf(host.call(call('ADD', { ...complete, netns: host.netns }))).code).toBe(8);
    expect(host.exec('ip -o link show lo')).toContain('state DOWN');
  });

  it('the very namespace the plugin runs in is refused by DEL with code 8', ({ host }) => {
    expect(failureOf(host.call(call('DEL', { ...complete, netns: host.netns }))).code).toBe(8);
  });

  it.for(['1', 'true', 'TRUE'])('CNI_NETNS_OVERRIDE=%s allows it', (value, { host }) => {
    const answer = host.call(call('ADD', { ...complete, netns: host.netns, env: { CNI_NETNS_OVERRIDE: value } }));
    expect(answer.status).toBe(0);
  });

  it.for(['bridge', 'loopback'])(
    'ADD of %s into a namespace that does not exist fails and names it',
    (plugin, { host }) => {
      const error = failureOf(host.call({ ...call('ADD', complete), plugin, conf: { ...conf, type: plugin } }));
      expect(error.code).toBe(errorCode(4));
      expect(error.msg).toContain('/run/netns/nowhere');
    },
  );

  it.for(['bridge', 'loopback'])('ADD of %s into a file that is no namespace fails', (plugin, { host }) => {
    const netns = '/etc/hostname';
    const error = failureOf(
      host.call({ ...call('ADD', { ...complete, netns }), plugin, conf: { ...conf, type: plugin } }),
    );
    expect(error.code).toBe(errorCode(4));
  });

  it.for(['bridge', 'loopback'])('DEL of %s with a namespace that is gone succeeds', (plugin, { host }) => {
    fine(host.call({ ...call('DEL', complete), plugin, conf: { ...conf, type: plugin } }));
  });

  it('a namespace is also found by the path of a process', ({ host }) => {
    const argv = inside(host.pod(), 'sleep 60');
    const sleeper = spawn(argv[0]!, argv.slice(1), { stdio: 'ignore' });
    try {
      const netns = `/proc/${sleeper.pid}/ns/net`;
      expect(resultOf(host.call(call('ADD', { ...complete, netns }))).interfaces?.[0]?.sandbox).toBe(netns);
    } finally {
      sleeper.kill('SIGKILL');
    }
  });
});

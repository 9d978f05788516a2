/** Standard input (spec section 1): what is no configuration, names, versions, and the error object every failure is told with. */

import { describe, expect } from 'vitest';
import { it, itOurs } from '../support/case.ts';
import type { Answer, Host } from '../support/netns.ts';
import { failureOf, fine, Pod } from '../support/pod.ts';
import { errorCode } from '../support/suite.ts';

function call(host: Host, command: string, conf: unknown): Answer {
  return host.call({
    plugin: 'loopback',
    command,
    conf,
    containerId: 'c1',
    netns: '/run/netns/nowhere',
    ifname: 'eth0',
  });
}

const commands = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS'];

describe.each(commands)('%s refuses input that is no configuration', (command) => {
  it.for(['', '   ', 'garbage', '[]', '"text"', '5', '{', '{"name":"net"} trailing', '{"name":"net",}', '\u0000'])(
    '%j: code 6',
    (conf, { host }) => {
      expect(failureOf(call(host, command, conf)).code).toBe(6);
    },
  );
});

describe('the network name', () => {
  it.for([{}, { name: '' }, { name: null }, { cniVersion: '1.1.0', type: 'loopback' }])(
    'missing in %j: code 7',
    (conf, { host }) => {
      const error = failureOf(call(host, 'ADD', conf));
      expect(error.code).toBe(7);
      expect(error.msg).toContain('network name');
    },
  );

  it.for(['../net', 'a/b', 'a b', '.net', '-net', '_net', 'net\n', 'a;b', 'né', 'a"b', '$(id)'])(
    '%j is refused with code 7',
    (name, { host }) => {
      expect(failureOf(call(host, 'ADD', { cniVersion: '1.1.0', name, type: 'loopback' })).code).toBe(7);
    },
  );

  it('of another type than text is refused with code 6', ({ host }) => {
    expect(failureOf(call(host, 'ADD', { cniVersion: '1.1.0', name: 5 })).code).toBe(6);
  });

  it.for(['a', 'Net-1_b.c', '9', 'n'.repeat(200)])('%j is accepted', (name, { host }) => {
    fine(call(host, 'DEL', { cniVersion: '1.1.0', name, type: 'loopback' }));
  });
});

describe('cniVersion', () => {
  it.for(['0.0.1', '0.5.0', '1.2.0', '2.0.0', '0.3', '1', 'v1.0.0', 'latest', '1.0.0\n'])(
    '%j is refused by DEL with code 1',
    (cniVersion, { host }) => {
      const error = failureOf(call(host, 'DEL', { cniVersion, name: 'net', type: 'loopback' }));
      expect(error.code).toBe(1);
    },
  );

  it('of another type than text is refused with code 6', ({ host }) => {
    expect(failureOf(call(host, 'DEL', { cniVersion: 1, name: 'net' })).code).toBe(6);
  });

  it('an unsupported one is told with those that are', ({ host }) => {
    const error = failureOf(call(host, 'ADD', { cniVersion: '9.9.9', name: 'net', type: 'loopback' }));
    expect(error.details).toContain('9.9.9');
    expect(error.details).toContain('1.1.0');
  });

  it.for([
    ['CHECK', '0.1.0'],
    ['CHECK', '0.2.0'],
    ['CHECK', '0.3.0'],
    ['CHECK', '0.3.1'],
    ['GC', '0.4.0'],
    ['GC', '1.0.0'],
    ['STATUS', '0.4.0'],
    ['STATUS', '1.0.0'],
  ] as const)('%s is refused below the version that brought it: %s', ([command, cniVersion], { host }) => {
    const error = failureOf(call(host, command, { cniVersion, name: 'net', type: 'loopback' }));
    expect(error).toMatchObject({ code: 1, msg: `config version does not allow ${command}` });
  });

  it.for(['CHECK', 'GC', 'STATUS'])('a configuration without one is 0.1.0, so %s is refused', (command, { host }) => {
    expect(failureOf(call(host, command, { name: 'net', type: 'loopback' })).code).toBe(1);
  });

  it.for(['GC', 'STATUS'])('%s is there in 1.1.0', (command, { host }) => {
    fine(call(host, command, { cniVersion: '1.1.0', name: 'net', type: 'loopback' }));
  });
});

describe('the error object', () => {
  itOurs('carries the version of the configuration, a code, a message and details', ({ host }) => {
    const answer = call(host, 'CHECK', { cniVersion: '0.4.0', name: 'net', type: 'loopback' });
    expect(answer.status).toBe(1);
    expect(failureOf(answer)).toMatchObject({ cniVersion: '0.4.0', code: 3 });
  });

  itOurs('carries the newest version while none is known', ({ host }) => {
    expect(failureOf(call(host, 'ADD', 'garbage')).cniVersion).toBe('1.1.0');
  });

  it('is all there is on standard output, and the exit code is 1', ({ host }) => {
    const answer = call(host, 'ADD', 'garbage');
    expect(answer.status).toBe(1);
    expect(Object.keys(answer.json!).sort()).toEqual(expect.arrayContaining(['code', 'msg']));
  });

  itOurs('lists every wrong field of a configuration at once', ({ host }) => {
    const conf = { cniVersion: '1.1.0', name: 'net', type: 'bridge', mtu: 'big', vlan: 5000, isGateway: 'yes' };
    const error = failureOf(new Pod(host, conf).call('ADD'));
    expect(error.code).toBe(7);
    for (const path of ['mtu', 'vlan', 'isGateway']) expect(error.msg).toContain(path);
  });
});

describe('unknown keys', () => {
  const more = {
    keyA: ['some', { deep: true }],
    capabilities: { portMappings: true },
    'cni.dev/x': 1,
    disableCheck: true,
  };

  it('are no error', ({ host }) => {
    const pod = new Pod(host, { cniVersion: '1.1.0', name: 'net', type: 'loopback', ...more });
    expect(pod.add().interfaces?.[0]?.name).toBe('lo');
  });

  it('with names of JavaScript are data like others', ({ host }) => {
    const conf = '{"cniVersion":"1.1.0","name":"net","type":"loopback","__proto__":{"name":"x"},"constructor":5}';
    fine(call(host, 'DEL', conf));
  });
});

describe('large and deep input', () => {
  it('ten megabytes of an unknown key are read', ({ host }) => {
    const conf = { cniVersion: '1.1.0', name: 'net', type: 'loopback', filler: 'x'.repeat(10_000_000) };
    fine(call(host, 'DEL', conf));
  });

  itOurs('a nesting of 100,000 lists ends with an error object', ({ host }) => {
    const conf = `{"cniVersion":"1.1.0","name":"net","x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
    const answer = call(host, 'DEL', conf);
    if (answer.status !== 0) expect(failureOf(answer).code).toBe(6);
  });
});

describe('values of the wrong type', () => {
  it.for([
    ['bridge', { bridge: 5 }],
    ['bridge', { isGateway: 'true' }],
    ['bridge', { mtu: '1500' }],
    ['bridge', { mtu: 1.5 }],
    ['bridge', { vlan: '7' }],
    ['bridge', { ipam: 'host-local' }],
    ['bridge', { ipam: { type: 5 } }],
    ['bridge', { runtimeConfig: [] }],
    ['bridge', { args: 'mac' }],
    ['host-local', { ipam: { type: 'host-local', subnet: 10 } }],
    ['host-local', { ipam: { type: 'host-local', subnet: '10.0.0.0' } }],
    ['host-local', { ipam: { type: 'host-local', subnet: '10.0.0.0/33' } }],
    ['host-local', { ipam: { type: 'host-local', ranges: {} } }],
    ['host-local', { ipam: { type: 'host-local', ranges: [{ subnet: '10.0.0.0/8' }] } }],
    ['host-local', { ipam: { type: 'host-local', subnet: '10.0.0.0/8', routes: 'default' } }],
    ['host-local', { ipam: { type: 'host-local', subnet: '10.0.0.0/8', dataDir: 5 } }],
    ['host-local', { ipam: { type: 'host-local', subnet: '10.0.0.0/8', routes: [{ dst: 'everywhere' }] } }],
  ] as const)('%s refuses %j with code 7', ([plugin, keys], { host }) => {
    const pod = new Pod(host, { cniVersion: '1.1.0', name: 'net', type: plugin, ...keys });
    expect(failureOf(pod.call('ADD')).code).toBe(errorCode(7));
    expect(host.exec('ip -o link').trim().split('\n')).toHaveLength(1);
  });
});

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { decodeConfig, parseListen, readConfig } from '../../src/agent/config.ts';
import { FileSource } from '../../src/cluster/file.ts';
import { ConfigError } from '../../src/errors.ts';
import { modesOf } from '../../src/plan/settings.ts';

function problemsOf(read: () => unknown): string[] {
  try {
    read();
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map((p) => `${p.path}: ${p.got}: ${p.want}`);
    throw error;
  }
  return [];
}

describe('the agent configuration', () => {
  it('loads the example, which states the defaults', () => {
    const folder = join(import.meta.dirname, '../../conf');
    const notes: string[] = [];
    const config = readConfig(join(folder, 'agent.yaml'), notes);
    const defaults = decodeConfig({ node: 'node1' });
    expect(config).toEqual({ ...defaults, cluster: { source: 'file', file: join(folder, 'cluster.yaml') } });
    expect(notes).toEqual([]);
  });

  const examples = join(import.meta.dirname, '../../conf/modes');
  it.each(readdirSync(examples).filter((name) => name !== 'cluster.yaml'))('loads the example modes/%s', (name) => {
    const notes: string[] = [];
    const config = readConfig(join(examples, name), notes);
    const source = new FileSource(config.cluster.file);
    expect(source.read().nodes.map((n) => n.site)).toEqual(['north', 'north', 'south']);
    expect([...notes, ...source.notes]).toEqual([]);
    expect([config.mode, ...modesOf(config)]).toContain(
      name === 'two-sites.yaml' ? 'wireguard' : name.replace('.yaml', ''),
    );
  });

  it.each<[string, unknown, string[]]>([
    ['mode', { mode: 'vxlam' }, ['mode: "vxlam": one of "vxlan", "ipip", "wireguard", "routed", "bgp", "auto"']],
    ['checksumOffload', { checksumOffload: 'off' }, ['checksumOffload: "off": true, false or "auto"']],
    ['flowtable', { flowtable: 'yes' }, ['flowtable: "yes": true, false or "auto"']],
    ['auto.everySeconds', { auto: { everySeconds: 0 } }, ['auto.everySeconds: 0: a whole number from 1 to 60']],
    [
      'pathMtu',
      { pathMtu: { enabled: 'yes', everySeconds: 0 } },
      ['pathMtu.enabled: "yes": true or false', 'pathMtu.everySeconds: 0: a whole number from 1 to 86400'],
    ],
    ['betweenSites', { betweenSites: 'bgp' }, ['betweenSites: "bgp": one of "vxlan", "ipip", "wireguard", "routed"']],
    [
      'wireguard',
      { wireguard: { port: 0, keepaliveSeconds: -1, presharedKeyFile: '/a b' } },
      [
        'wireguard.port: 0: a whole number from 1 to 65535',
        'wireguard.keepaliveSeconds: -1: a whole number from 0 to 65535',
        'wireguard.presharedKeyFile: "/a b": a path that begins with "/", without blanks and quotes',
      ],
    ],
    [
      'bgp',
      {
        bgp: {
          as: 0,
          passwordFile: 'x',
          gracefulRestartSeconds: 5000,
          peers: [{ address: '10.0.0.1/8', multihop: 1, import: ['10.0.0.1/8'] }],
        },
      },
      [
        'bgp.as: 0: the number of an autonomous system, from 1 to 4294967295',
        'bgp.passwordFile: "x": a path that begins with "/"',
        'bgp.gracefulRestartSeconds: 5000: a whole number of seconds from 0 to 4095',
        'bgp.peers[0].address: "10.0.0.1/8": a unicast address such as "192.168.1.1" or "fd00:1::1", without a prefix length',
        'bgp.peers[0].as: nothing: the number of an autonomous system, from 1 to 4294967295',
        'bgp.peers[0].multihop: 1: a whole number of hops from 2 to 255',
        'bgp.peers[0].import[0]: "10.0.0.1/8": a network such as "10.0.0.0/8" or "fd00::/8", bits after the prefix zero',
      ],
    ],
    [
      'bgp peer named twice',
      { bgp: { peers: [1, 2].map((as) => ({ address: '10.0.0.1', as })) } },
      ['bgp.peers: [{"address":"10.0.0.1","as":1},{"address":"10.0.0.1","as":2}]: every address only once'],
    ],
    ['mtu', { mtu: 100 }, ['mtu: 100: "auto" or a whole number from 1280 to 65535']],
    ['mtu as text', { mtu: '1500' }, ['mtu: "1500": "auto" or a whole number from 1280 to 65535']],
    ['masquerade', { masquerade: 'yes' }, ['masquerade: "yes": true or false']],
    ['vxlan', { vxlan: 1 }, ['vxlan: 1: an object with id and port']],
    [
      'several',
      { vxlan: { id: 0, port: 70000 }, resyncSeconds: 0.5 },
      [
        'vxlan.id: 0: a whole number from 1 to 16777215',
        'vxlan.port: 70000: a whole number from 1 to 65535',
        'resyncSeconds: 0.5: a whole number of seconds from 1 to 3600',
      ],
    ],
    [
      'listen',
      { listen: 'localhost:1' },
      ['listen: "localhost:1": an address and a port such as "127.0.0.1:9467" or "[::1]:9467"'],
    ],
    ['paths', { paths: { run: 'run' } }, ['paths.run: "run": a path that begins with "/"']],
    ['a document that is no object', [1], ['document: [1]: an object']],
  ])('names a wrong %s', (_name, value, want) => {
    expect(problemsOf(() => decodeConfig(value))).toEqual(want);
  });

  it('names a missing file and text that is not YAML', () => {
    expect(problemsOf(() => readConfig('/nowhere/agent.yaml'))).toEqual([
      '/nowhere/agent.yaml: no such file: a readable configuration file',
    ]);
  });

  it('remarks on unknown keys with the nearest known one', () => {
    const notes: string[] = [];
    decodeConfig({ mdoe: 'vxlan', vxlan: { prot: 1 }, zzzzzzzz: 1 }, notes);
    expect(notes[0]).toBe('mdoe: unknown key, ignored; did you mean "mode"?');
    expect(notes[1]).toBe('vxlan.prot: unknown key, ignored; did you mean "port"?');
    expect(notes[2]).toMatch(/^zzzzzzzz: unknown key, ignored; known are node, /);
  });

  it('takes IPv4 and IPv6 to listen on', () => {
    expect(parseListen('127.0.0.1:9467')).toEqual({ host: '127.0.0.1', port: 9467 });
    expect(parseListen('[::1]:1')).toEqual({ host: '::1', port: 1 });
    expect(parseListen('::1:1')).toBeUndefined();
    expect(parseListen('127.0.0.1:65536')).toBeUndefined();
  });
});

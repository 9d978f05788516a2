import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { main } from '../../src/cli/cli.ts';
import type { Finding } from '../../src/cli/validate/finding.ts';
import { locate } from '../../src/decode/locate.ts';
import { distance, nearest } from '../../src/decode/nearest.ts';

process.stdout.setMaxListeners(0); // the command line listens anew each time

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'culvert-validate-'));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(dir, { recursive: true, force: true });
});

interface Ran {
  exit: number;
  stdout: string;
}

/** The command line in this process. */
async function culvert(...argv: string[]): Promise<Ran> {
  let stdout = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    stdout += String(text);
    return true;
  });
  const exit = await main(argv);
  vi.restoreAllMocks();
  return { exit, stdout };
}

function write(name: string, content: unknown): string {
  const file = join(dir, name);
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content, null, 2));
  return file;
}

const list = (plugins: object[], keys: object = {}) => ({ cniVersion: '1.1.0', name: 'pods', ...keys, plugins });
const ipam = (keys: object = {}) => ({ type: 'host-local', subnet: '10.22.0.0/24', ...keys });
const bridge = (keys: object = {}) => ({ type: 'bridge', ipam: ipam(), ...keys });

/** Exit code and findings of one document. */
async function validated(content: unknown, ...options: string[]): Promise<{ exit: number; findings: Finding[] }> {
  const { exit, stdout } = await culvert(
    'validate',
    '--json',
    '--path',
    dir,
    ...options,
    write('10-x.conflist', content),
  );
  return { exit, findings: (JSON.parse(stdout) as { findings: Finding[] }).findings };
}

/** What is wrong, by path and words: severity, path, message. */
const mistakes: [what: string, document: unknown, expected: [string, string, RegExp][]][] = [
  ['nothing', list([bridge()]), []],
  [
    'a wrong value',
    list([bridge({ mtu: 'big', vlan: 5000 })]),
    [
      ['problem', 'plugins[0].mtu', /got "big", want a whole number from 0 to 65535/],
      ['problem', 'plugins[0].vlan', /got 5000, want a whole number from 0 to 4094/],
    ],
  ],
  [
    'a misspelled key',
    list([bridge({ isGatway: true })]),
    [['problem', 'plugins[0].isGatway', /^unknown key; did you mean "isGateway"\?$/]],
  ],
  [
    'a misspelled key beside a wrong value',
    list([bridge({ ipmasquerade: true, hairpinmod: true, mtu: -1 })]),
    [
      ['problem', 'plugins[0].mtu', /want a whole number/],
      ['remark', 'plugins[0].ipmasquerade', /^unknown key, ignored$/],
      ['problem', 'plugins[0].hairpinmod', /did you mean "hairpinMode"\?/],
    ],
  ],
  ['a key in another case', list([bridge({ IPMasq: true })]), [['remark', 'plugins[0].IPMasq', /spelled "ipMasq"/]]],
  ['a key of nobody', list([bridge({ _comment: 'x' })]), [['remark', 'plugins[0]._comment', /^unknown key, ignored$/]]],
  [
    'the IPAM section',
    list([bridge({ ipam: ipam({ subnet: '10.22.0.1/24', rangStart: '10.22.0.9' }) })]),
    [
      ['problem', 'plugins[0].ipam.subnet', /want "10.22.0.0\/24": no host bits/],
      ['problem', 'plugins[0].ipam.rangStart', /did you mean "rangeStart"\?/],
    ],
  ],
  [
    'an IPAM section without ranges',
    list([bridge({ ipam: { type: 'host-local' } })]),
    [['problem', 'plugins[0].ipam.ranges', /at least one range set/]],
  ],
  [
    'ranges that the runtime gives',
    list([bridge({ ipam: { type: 'host-local' }, capabilities: { ipRanges: true } })]),
    [],
  ],
  [
    'a list without a name, with an unknown version',
    { cniVersion: '9.9.9', plugins: [bridge()] },
    [
      ['problem', 'name', /got "", want letters|got nothing, want letters/],
      ['problem', 'cniVersion', /got "9.9.9", want one of 0.1.0/],
    ],
  ],
  [
    'one version of several that is known',
    list([bridge()], { cniVersion: '9.0.0', cniVersions: ['1.0.0', '9.1.0'] }),
    [],
  ],
  ['no version', { name: 'pods', plugins: [bridge()] }, [['remark', 'cniVersion', /0\.1\.0/]]],
  ['a list without plugins', list([]), [['problem', 'plugins', /one plugin at least/]]],
  ['plugins that are none', { ...list([]), plugins: 5 }, [['problem', 'plugins', /want a list of objects/]]],
  [
    'a misspelled key of the list',
    list([bridge()], { disableChek: true }),
    [['problem', 'disableChek', /did you mean "disableCheck"\?/]],
  ],
  [
    'a flag of the list',
    list([bridge()], { disableCheck: 5, disableGC: 'true' }),
    [['problem', 'disableCheck', /true or false/]],
  ],
  ['a plugin without a type', list([{ ipam: ipam() }]), [['problem', 'plugins[0].type', /file name of a plugin/]]],
  [
    'a chained plugin with none before it',
    list([{ type: 'portmap', capabilities: { portMappings: true } }, bridge()]),
    [['problem', 'plugins[0].type', /got "portmap", want a plugin before it that makes the interface/]],
  ],
  [
    'a capability at a plugin that does not take it',
    list([bridge({ capabilities: { portMappings: true } })]),
    [
      [
        'problem',
        'plugins[0].capabilities.portMappings',
        /"bridge" does not take, want it at a plugin that does: "culvert", "portmap"/,
      ],
    ],
  ],
  [
    'a misspelled capability',
    list([bridge(), { type: 'portmap', capabilities: { portMapping: true } }]),
    [
      ['problem', 'plugins[1].capabilities.portMapping', /want "portMappings"/],
      ['remark', 'plugins[1].type', /does nothing without "capabilities"/],
    ],
  ],
  ['a capability that is off', list([bridge({ capabilities: { portMappings: false } })]), []],
  ['a capability of the IPAM plugin', list([bridge({ capabilities: { ips: true } })]), []],
  [
    'a capability that is no flag',
    list([bridge({ capabilities: { mac: 'yes' } })]),
    [['problem', 'plugins[0].capabilities.mac', /want true or false/]],
  ],
  [
    'a plugin for addresses that gives none',
    list([bridge({ ipam: { type: 'bridge' } })]),
    [['problem', 'plugins[0].ipam.type', /got "bridge", want an IPAM plugin such as "host-local"/]],
  ],
  [
    'what nftables cannot do',
    list([bridge(), { type: 'portmap', capabilities: { portMappings: true }, externalSetMarkChain: 'KUBE-MARK-MASQ' }]),
    [['problem', 'plugins[1].externalSetMarkChain', /got "KUBE-MARK-MASQ", want no such key/]],
  ],
  [
    'what is done in another way',
    list([bridge(), { type: 'firewall', backend: 'iptables' }]),
    [['remark', 'plugins[1].backend', /"iptables" is done with nftables/]],
  ],
  [
    'a plugin of others that is not there',
    list([bridge(), { type: 'dnsname', domainName: 'x' }]),
    [['remark', 'plugins[1].type', /"dnsname" is no plugin of ours, and not in /]],
  ],
  [
    'an IPAM plugin of others that is not there',
    list([bridge({ ipam: { type: 'dhcp' } })]),
    [['remark', 'plugins[0].ipam.type', /"dhcp" is no plugin of ours/]],
  ],
  [
    'the configuration of one plugin',
    { cniVersion: '1.1.0', name: 'pods', type: 'bridge', isGatway: true, ipam: ipam() },
    [['problem', 'isGatway', /did you mean "isGateway"\?/]],
  ],
  ['a list of numbers', [1, 2], [['problem', '', /got \[1,2\], want an object/]]],
];

describe('culvert validate', () => {
  it.each(mistakes)('names %s', async (_what, document, expected) => {
    const { exit, findings } = await validated(document);
    expect(findings.map((f) => [f.severity, f.path])).toEqual(expected.map(([severity, path]) => [severity, path]));
    for (const [i, [, , words]] of expected.entries()) expect(findings[i]!.message).toMatch(words);
    expect(exit).toBe(expected.some(([severity]) => severity === 'problem') ? 1 : 0);
  });

  it('takes remarks for problems with --strict', async () => {
    const document = list([bridge({ _comment: 'x' })]);
    expect((await validated(document)).exit).toBe(0);
    expect((await validated(document, '--strict')).exit).toBe(1);
  });

  it('prints file, line and column, as editors read them', async () => {
    const text =
      '{ "cniVersion": "1.1.0", "name": "x",\n  "plugins": [\n    { "type": "bridge",\n      "isGatway": true }\n  ]\n}\n';
    const file = write('10-x.conflist', text);
    const { exit, stdout } = await culvert('validate', file);
    expect(stdout).toBe(`${file}:4:7: plugins[0].isGatway: unknown key; did you mean "isGateway"?\n`);
    expect(exit).toBe(1);
  });

  it.each([
    ['{\n  "name": "x",\n}', 3],
    ['{\n  "name": "x"\n', 3],
    ['', 1],
    ['nonsense', 1],
  ])('says where %j stops being JSON', async (text, line) => {
    const { exit, findings } = await validated(text);
    expect(findings).toMatchObject([{ severity: 'problem', line, message: expect.stringContaining('not JSON') }]);
    expect(exit).toBe(1);
  });

  it('finds a key that stands there twice', async () => {
    const { findings } = await validated(
      '{"cniVersion":"1.1.0","name":"x","plugins":[{"type":"loopback"}],\n"name":"y"}',
    );
    expect(findings).toMatchObject([
      { path: 'name', line: 2, column: 1, message: expect.stringContaining('second time') },
    ]);
  });

  it('looks at a folder as one runtime does: names and subnets of all files', async () => {
    write('10-a.conflist', list([bridge()], { name: 'a' }));
    write('20-b.conflist', list([bridge({ ipam: ipam({ subnet: '10.22.0.128/25' }) })], { name: 'b' }));
    write('30-c.conf', { cniVersion: '1.1.0', name: 'a', type: 'loopback' });
    write('40-d.conflist', list([bridge({ ipam: ipam({ subnet: '10.23.0.0/24' }) })], { name: 'd' }));
    write('README', 'not JSON');
    const { exit, stdout } = await culvert('validate', dir);
    expect(stdout.split('\n')).toEqual([
      `${dir}/10-a.conflist: fine: network "a": bridge`,
      expect.stringMatching(
        /20-b\.conflist:9:9: plugins\[0\]\.ipam\.subnet: got "10\.22\.0\.128\/25", want no address of 10\.22\.0\.0\/24, from which network "a" of .*10-a\.conflist leases/,
      ),
      expect.stringMatching(/30-c\.conf:3:3: name: got "a", want another name: .*10-a\.conflist has this one/),
      `${dir}/40-d.conflist: fine: network "d": bridge`,
      '',
    ]);
    expect(exit).toBe(1);
  });

  it('does not compare files of two folders', async () => {
    const one = write('a.conflist', list([bridge()]));
    mkdirSync(join(dir, 'other'));
    const other = write('other/b.conflist', list([bridge()]));
    expect(await culvert('validate', one, other)).toMatchObject({ exit: 0 });
  });

  it('tells of a folder from which runtimes add plugins', async () => {
    mkdirSync(join(dir, 'pods'));
    const { exit, findings } = await validated(list([bridge()]));
    expect(findings).toMatchObject([
      { severity: 'remark', path: 'name', message: expect.stringContaining(join(dir, 'pods')) },
    ]);
    expect(exit).toBe(0);
  });

  it('asks a plugin of others for its versions', async () => {
    const script =
      '#!/bin/sh\n[ "$CNI_COMMAND" = VERSION ] && echo \'{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}\'\n';
    chmodSync(write('dnsname', script), 0o755);
    const document = (cniVersion: string) => list([bridge(), { type: 'dnsname' }], { cniVersion });
    expect(await validated(document('1.0.0'))).toEqual({ exit: 0, findings: [] });
    const { exit, findings } = await validated(document('1.1.0'));
    expect(findings).toMatchObject([
      { severity: 'problem', path: 'cniVersion', want: expect.stringContaining('0.4.0, 1.0.0') },
    ]);
    expect(exit).toBe(1);
  });

  it('reads standard input', () => {
    const argv = [join(import.meta.dirname, '../../src/main.ts'), 'validate', '-'];
    const input = JSON.stringify(list([bridge({ isGatway: true })]));
    const { status, stdout } = spawnSync(process.execPath, argv, { input, encoding: 'utf8' });
    expect(stdout).toMatch(/^<stdin>:1:\d+: plugins\[0\]\.isGatway: /);
    expect(status).toBe(1);
  });

  it('answers 2 without a file and with an unknown option, 3 for what cannot be read, the rest being looked at', async () => {
    vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    expect(await main(['validate'])).toBe(2);
    expect(await main(['validate', '--frobnicate'])).toBe(2);
    mkdirSync(join(dir, 'empty'));
    expect((await culvert('validate', join(dir, 'nowhere'))).exit).toBe(3);
    expect((await culvert('validate', join(dir, 'empty'))).exit).toBe(3);
    const { exit, stdout } = await culvert('validate', join(dir, 'nowhere'), write('a.conflist', list([bridge()])));
    expect(stdout).toContain('fine');
    expect(exit).toBe(3);
  });

  it('is not stopped by hostile text', async () => {
    const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`;
    const text = `{"cniVersion":"1.1.0","name":"x","plugins":[{"type":"bridge","":1,"mtu":${deep},"a.b[0]":{"":{}},"__proto__":5}]}`;
    const { exit, findings } = await validated(text);
    expect(findings.find((f) => f.path === 'plugins[0].mtu')).toMatchObject({ line: 1, severity: 'problem' });
    expect(exit).toBe(1);
  });
});

describe('culvert plugins', () => {
  it('lists every plugin with what it takes', async () => {
    const { exit, stdout } = await culvert('plugins');
    expect(exit).toBe(0);
    expect(stdout).toMatch(/^portmap +chained +portMappings +forwards ports/m);
    expect(stdout).toMatch(/^host-local +ipam +ipRanges ips +leases/m);
    expect(stdout).toMatch(/^verbs: ADD DEL VERSION CHECK GC STATUS$/m);
  });

  it('says the keys of one', async () => {
    const { stdout } = await culvert('plugins', 'bridge');
    expect(stdout).toMatch(/^vlanTrunk\[\]\.minID +a whole number from 1 to 4094$/m);
    expect(stdout).toMatch(/^runtimeConfig\.mac +a string$/m);
  });

  it('has it all as JSON', async () => {
    const { plugins } = JSON.parse((await culvert('plugins', '--json', 'static')).stdout) as { plugins: object[] };
    expect(plugins).toMatchObject([{ name: 'static', kind: 'ipam', capabilities: ['ips'], linked: [] }]);
  });

  it('answers 2 for a plugin that is not there', async () => {
    vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    expect(await main(['plugins', 'calico'])).toBe(2);
  });
});

describe('nearest()', () => {
  it.each([
    ['isGatway', 'isGateway'],
    ['isgateway_', 'isGateway'],
    ['ip-masq', 'ipMasq'],
    ['mut', 'mtu'],
    ['xyz', undefined],
    ['id', undefined],
    ['x'.repeat(10_000), undefined],
  ])('%s → %s', (word, expected) => {
    expect(nearest(word, ['isGateway', 'isDefaultGateway', 'ipMasq', 'mtu', 'vlan'])).toBe(expected);
  });

  it('counts a swap of neighbours once', () => expect(distance('mut', 'mtu')).toBe(1));
});

describe('locate()', () => {
  it('finds keys whatever stands in texts and between them', () => {
    const text = '{ "a" : "}\\"{", "B":[ {"c":1}, [2,{"d":3}] ],\n "sysctl": {"net.core.x": "1"} }';
    const { placeOf } = locate(text);
    const column = (path: string) => placeOf(path).column;
    expect([column('a'), column('b'), column('B[0].c'), column('B[1][0]'), column('B[1][1].d')]).toEqual([
      3, 17, 24, 33, 36,
    ]);
    expect(placeOf('sysctl["net.core.x"]')).toEqual({ line: 2, column: 13 });
    expect(placeOf('B[1][1].missing.deeper')).toEqual(placeOf('B[1][1]'));
    expect(placeOf('nowhere')).toEqual({ line: 1, column: 1 });
  });
});

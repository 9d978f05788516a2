import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hostLocal } from '../../plugins/host-local.ts';
import { runPlugin } from '../../src/cni/skel.ts';
import type { Exec } from '../../src/kernel/exec.ts';
import { createKernel } from '../../src/kernel/kernel.ts';
import type { Machine } from '../../src/kernel/machine.ts';

type Json = Record<string, unknown>;

interface Answer {
  exit: number;
  json: Json | undefined;
  warnings: string[];
}

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'culvert-host-local-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const noPrograms: Exec = (argv) => Promise.reject(new Error(`started ${argv.join(' ')}`));

interface Call {
  command: string;
  conf: Json;
  id?: string;
  ifname?: string;
  args?: string;
}

/** One execution, with the protocol around it and no process. */
async function call({ command, conf, id = 'c1', ifname = 'eth0', args = '' }: Call): Promise<Answer> {
  const warnings: string[] = [];
  const machine: Machine = {
    exec: noPrograms,
    kernel: createKernel(noPrograms),
    executable: '/nowhere',
    warn: (text) => void warnings.push(text),
    stderr: () => {},
  };
  let stdout = '';
  const exit = await runPlugin(hostLocal, machine, {
    env: {
      CNI_COMMAND: command,
      CNI_CONTAINERID: id,
      CNI_IFNAME: ifname,
      CNI_NETNS: '/nowhere',
      CNI_PATH: '/x',
      CNI_ARGS: args,
    },
    readStdin: () => JSON.stringify(conf),
    stdout: (text) => {
      stdout += text;
    },
    stderr: () => {},
  });
  return { exit, json: stdout === '' ? undefined : (JSON.parse(stdout) as Json), warnings };
}

const conf = (ipam: Json, more: Json = {}): Json => ({
  cniVersion: '1.1.0',
  name: 'net',
  type: 'bridge',
  ...more,
  ipam: { type: 'host-local', dataDir: dir, ...ipam },
});

const dual = { ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]] };

/** The addresses of an ADD that has to work. */
async function added(given: Omit<Call, 'command'>): Promise<string[]> {
  const answer = await call({ command: 'ADD', ...given });
  expect(answer.json).toMatchObject({ ips: expect.anything() });
  return (answer.json!['ips'] as { address: string }[]).map((ip) => ip.address);
}

const leased = (): string[] => readdirSync(join(dir, 'net')).filter((name) => /^[0-9a-f]*[.:]/.test(name));

describe('ADD', () => {
  const routes = [
    { dst: '0.0.0.0/0' },
    { dst: '192.0.2.0/24', gw: '10.1.2.9', mtu: 1400, advmss: 1300, priority: 5, table: 100, scope: 253 },
    { dst: '::/0', gw: 'fd00:1::9' },
  ];
  const ips = [
    { address: '10.1.2.2/24', gateway: '10.1.2.1' },
    { address: 'fd00:1::2/64', gateway: 'fd00:1::1' },
  ];
  const withVersion = ips.map((ip, i) => ({ version: i === 0 ? '4' : '6', ...ip }));
  const oldest = {
    ip4: {
      ip: '10.1.2.2/24',
      gateway: '10.1.2.1',
      routes: [{ dst: '0.0.0.0/0' }, { dst: '192.0.2.0/24', gw: '10.1.2.9' }],
    },
    ip6: { ip: 'fd00:1::2/64', gateway: 'fd00:1::1', routes: [{ dst: '::/0', gw: 'fd00:1::9' }] },
  };
  const dns = { nameservers: ['192.0.2.53'], search: ['a.example', 'b.example'] };

  it.each([
    ['0.1.0', oldest],
    ['0.2.0', oldest],
    ['0.3.0', { ips: withVersion, routes }],
    ['0.3.1', { ips: withVersion, routes }],
    ['0.4.0', { ips: withVersion, routes }],
    ['1.0.0', { ips, routes }],
    ['1.1.0', { ips, routes }],
  ])('answers in the shape of %s', async (cniVersion, want) => {
    const resolvConf = join(dir, 'resolv.conf');
    writeFileSync(resolvConf, '# comment\nnameserver 192.0.2.53\n;x\nsearch a.example b.example\nnameserver\n');
    const answer = await call({ command: 'ADD', conf: conf({ ...dual, routes, resolvConf }, { cniVersion }) });
    expect(answer).toEqual({ exit: 0, json: { cniVersion, ...want, dns }, warnings: [] });
  });

  it('reads every line of resolv.conf that means something', async () => {
    const resolvConf = join(dir, 'resolv.conf');
    const lines = [
      'domain first.example',
      '\tdomain last.example ',
      'options ndots:5 edns0',
      'options rotate',
      'sortlist x',
    ];
    writeFileSync(resolvConf, lines.join('\n'));
    const answer = await call({ command: 'ADD', conf: conf({ subnet: '10.1.2.0/24', resolvConf }) });
    expect(answer.json!['dns']).toEqual({ domain: 'last.example', options: ['ndots:5', 'edns0', 'rotate'] });
  });

  it('puts the ranges of the runtime first, then subnet, then ranges', async () => {
    const runtimeConfig = { ipRanges: [[{ subnet: '10.3.0.0/24' }]], portMappings: [], mac: 'x' };
    const ipam = { subnet: '10.1.0.0/24', ranges: [[{ subnet: '10.2.0.0/24' }]] };
    expect(await added({ conf: conf(ipam, { runtimeConfig }) })).toEqual(['10.3.0.2/24', '10.1.0.2/24', '10.2.0.2/24']);
  });

  it.each([
    ['CNI_ARGS', {}, 'IgnoreUnknown=1;K8S_POD_NAME=x;IP=10.1.2.88'],
    ['CNI_ARGS with a length', {}, 'IP=10.1.2.88/16'],
    ['args', { args: { cni: { ips: ['10.1.2.88'], mac: 'x' }, other: 1 } }, ''],
    ['runtimeConfig', { runtimeConfig: { ips: ['10.1.2.88/24'] } }, ''],
    [
      'all at once',
      { args: { cni: { ips: ['10.1.2.88'] } }, runtimeConfig: { ips: ['::ffff:10.1.2.88'] } },
      'IP=10.1.2.88',
    ],
  ])('gives the address asked for by %s', async (_name, more, args) => {
    expect(await added({ conf: conf(dual, more), args })).toEqual(['10.1.2.88/24', 'fd00:1::2/64']);
  });

  it('gives one requested address of every set', async () => {
    const more = { runtimeConfig: { ips: ['fd00:1::999', '10.1.2.77'] } };
    expect(await added({ conf: conf(dual, more) })).toEqual(['10.1.2.77/24', 'fd00:1::999/64']);
  });

  it.each([
    ['that no set has', ['10.9.9.9', '10.1.2.7', 'fd00:2::1'], 7, ['10.9.9.9', 'fd00:2::1']],
    ['of a set that has given one', ['10.1.2.7', '10.1.2.8'], 7, ['10.1.2.8']],
    ['that are the gateway', ['fd00:1::1'], 7, ['fd00:1::1', 'gateway']],
    ['that are leased', ['fd00:1::2'], 102, ['fd00:1::2', 'container c0']],
  ])('refuses requested addresses %s and leaves nothing', async (_name, ips, code, named) => {
    await added({ conf: conf(dual), id: 'c0' });
    const answer = await call({ command: 'ADD', conf: conf(dual, { runtimeConfig: { ips } }) });
    expect(answer.json).toMatchObject({ code });
    for (const text of named) expect(answer.json!['msg']).toContain(text);
    expect(leased().sort()).toEqual(['10.1.2.2', 'fd00:1::2']);
  });

  it('refuses a second ADD and keeps the leases of the first', async () => {
    await added({ conf: conf(dual) });
    expect((await call({ command: 'ADD', conf: conf(dual) })).json).toMatchObject({ code: 102 });
    const more = { runtimeConfig: { ips: ['10.1.2.50'] } };
    // the requested address is leased first, then the duplicate of the other set shows
    expect((await call({ command: 'ADD', conf: conf(dual, more) })).json).toMatchObject({ code: 102 });
    expect(leased().sort()).toEqual(['10.1.2.2', 'fd00:1::2']);
    expect(await added({ conf: conf(dual), ifname: 'eth1' })).toEqual(['10.1.2.51/24', 'fd00:1::3/64']);
  });

  it('says which set is exhausted, and leaves nothing of the others', async () => {
    const ipam = { ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/126' }]] };
    await added({ conf: conf(ipam), id: 'a' });
    await added({ conf: conf(ipam), id: 'b' });
    const answer = await call({ command: 'ADD', conf: conf(ipam), id: 'c' });
    expect(answer.json).toMatchObject({
      code: 101,
      msg: expect.stringContaining('fd00:1::1-fd00:1::3: all 2 are leased'),
    });
    expect(leased()).not.toContain('10.1.2.4');
  });

  it('remarks once on unknown keys of its own and on nothing else', async () => {
    const answer = await call({
      command: 'ADD',
      conf: conf(
        { subnet: '10.1.2.0/24', gatewy: 'x', Routes: [] },
        { isGateway: true, dns: {}, capabilities: {}, x: 1 },
      ),
    });
    expect(answer.warnings).toEqual([
      'ipam.Routes: the key is spelled "routes"',
      'ipam.gatewy: unknown key, ignored; did you mean "gateway"?',
    ]);
    const del = await call({ command: 'DEL', conf: conf({ subnet: '10.1.2.0/24', gatewy: 'x' }) });
    expect(del).toEqual({ exit: 0, json: undefined, warnings: [] });
  });

  it('remarks on rangeStart without subnet, which means nothing', async () => {
    const answer = await call({ command: 'ADD', conf: conf({ ...dual, rangeStart: '10.1.2.9' }) });
    expect(answer.warnings).toEqual(['ipam.rangeStart: ignored without ipam.subnet']);
  });
});

describe('wrong configuration', () => {
  const cases: [string, Json, Json, string[]][] = [
    ['no ranges', {}, {}, ['ipam.ranges']],
    ['empty ranges', { ranges: [] }, {}, ['ipam.ranges']],
    ['an empty set', { ranges: [[]] }, {}, ['ipam.ranges[0]']],
    [
      'everything at once',
      {
        subnet: '10.1.2.3/24',
        rangeEnd: 'x',
        ranges: [[{ subnet: '10.2.0.0/24' }, { subnet: '10.3.0.0/24', rangeStart: '10.4.0.1' }], 'x'],
        routes: [{ gw: '1.1.1.1' }, { dst: '0.0.0.0/0', mtu: -1 }],
        resolvConf: 5,
        dataDir: 5,
      },
      { runtimeConfig: { ipRanges: [[{ subnet: 'fd00::/200' }]], ips: ['10.1.2.x', 5] }, args: { cni: { ips: 'x' } } },
      [
        'args.cni.ips',
        'ipam.dataDir',
        'ipam.rangeEnd',
        'ipam.ranges[0][1].rangeStart',
        'ipam.ranges[1]',
        'ipam.resolvConf',
        'ipam.routes[0].dst',
        'ipam.routes[1].mtu',
        'ipam.subnet',
        'runtimeConfig.ipRanges[0][0].subnet',
        'runtimeConfig.ips[0]',
        'runtimeConfig.ips[1]',
      ],
    ],
    [
      'overlap across sources',
      { subnet: '10.1.2.0/24' },
      { runtimeConfig: { ipRanges: [[{ subnet: '10.1.0.0/16' }]] } },
      ['ipam'],
    ],
    [
      'two sets of a family in 0.2.0',
      { ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: '10.1.3.0/24' }]] },
      { cniVersion: '0.2.0' },
      ['ipam.ranges'],
    ],
    ['no resolv.conf', { subnet: '10.1.2.0/24', resolvConf: '/nowhere/resolv.conf' }, {}, ['ipam.resolvConf']],
    ['a NUL in dataDir', { subnet: '10.1.2.0/24', dataDir: 'a\0b' }, {}, ['ipam.dataDir']],
  ];
  it.each(cases)('with %s names every path', async (_name, ipam, more, paths) => {
    const answer = await call({ command: 'ADD', conf: conf(ipam, more) });
    expect(answer).toMatchObject({ exit: 1, json: { code: 7 } });
    const problems = JSON.parse(answer.json!['details'] as string) as { path: string }[];
    expect(problems.map((p) => p.path).sort()).toEqual(paths);
    expect(readdirSync(dir)).toEqual([]);
  });

  it('without ipam is wrong too', async () => {
    const answer = await call({ command: 'ADD', conf: { cniVersion: '1.1.0', name: 'net' } });
    expect(answer.json).toMatchObject({ code: 7, msg: expect.stringContaining('ipam: got nothing') });
  });

  it.each(['IP=10.1.2', 'IP=10.1.2.3/33', 'MAC=x'])('refuses CNI_ARGS %j', async (args) => {
    const answer = await call({ command: 'ADD', conf: conf({ subnet: '10.1.2.0/24' }), args });
    expect(answer.json).toMatchObject({ code: 4, msg: expect.stringContaining('CNI_ARGS') });
  });
});

describe('DEL', () => {
  it('needs only the name and the folder', async () => {
    await added({ conf: conf(dual) });
    const nonsense = { subnet: 5, ranges: 'x', routes: 7, resolvConf: '/nowhere' };
    const answer = await call({ command: 'DEL', conf: conf(nonsense, { runtimeConfig: 5, args: 'x' }), args: 'X=Y' });
    expect(answer).toEqual({ exit: 0, json: undefined, warnings: [] });
    expect(leased()).toEqual([]);
  });

  it('is content when there is nothing', async () => {
    expect((await call({ command: 'DEL', conf: conf(dual) })).exit).toBe(0);
    expect(readdirSync(dir)).toEqual([]);
  });
});

describe('CHECK', () => {
  const previous = (...addresses: string[]) => ({
    prevResult: { cniVersion: '1.1.0', ips: addresses.map((address) => ({ address })) },
  });

  it.each([
    ['no prevResult', {}],
    ['the same addresses', previous('10.1.2.2/24', 'fd00:1::2/64')],
    ['an address of others besides', previous('10.1.2.2/24', 'fd00:1::2/64', '192.0.2.7/24')],
  ])('is content with %s', async (_name, more) => {
    await added({ conf: conf(dual) });
    expect(await call({ command: 'CHECK', conf: conf(dual, more) })).toEqual({
      exit: 0,
      json: undefined,
      warnings: [],
    });
  });

  it('names every difference', async () => {
    await added({ conf: conf(dual) });
    await added({ conf: conf(dual), id: 'c2' });
    const answer = await call({
      command: 'CHECK',
      conf: conf(dual, previous('10.1.2.3/24', '10.1.2.9/24', 'fd00:1::2/64')),
    });
    expect(answer.json).toMatchObject({ code: 103 });
    const mine = 'leased to container c1, interface eth0';
    expect(JSON.parse(answer.json!['details'] as string)).toEqual([
      { path: 'lease 10.1.2.3', got: 'leased to container c2, interface eth0', want: mine },
      { path: 'lease 10.1.2.9', got: 'not leased', want: mine },
      { path: 'lease 10.1.2.2', got: mine, want: 'not leased: prevResult has it not' },
    ]);
  });

  it.each([{}, previous()])('is not content when nothing is leased, with %j', async (more) => {
    const answer = await call({ command: 'CHECK', conf: conf(dual, more) });
    expect(answer.json).toMatchObject({ code: 103, msg: expect.stringContaining('leases of network net: got none') });
  });
});

describe('GC', () => {
  const valid = (...ids: string[]) => ({
    'cni.dev/valid-attachments': ids.map((containerID) => ({ containerID, ifname: 'eth0' })),
  });

  it('frees what is not valid, in this network only, whatever the ranges say', async () => {
    for (const id of ['c1', 'c2', 'c3']) await added({ conf: conf(dual), id });
    await added({ conf: conf(dual), id: 'c1', ifname: 'eth1' });
    await added({ conf: conf(dual, { name: 'other' }), id: 'c2' });
    const answer = await call({ command: 'GC', conf: conf({ ranges: 'nonsense' }, valid('c1', 'c3')) });
    expect(answer).toEqual({ exit: 0, json: undefined, warnings: [] });
    expect(leased().sort()).toEqual(['10.1.2.2', '10.1.2.4', 'fd00:1::2', 'fd00:1::4']);
    expect(readdirSync(join(dir, 'other'))).toContain('10.1.2.2');
  });

  it('keeps leases of the old format as long as their container has an attachment', async () => {
    mkdirSync(join(dir, 'net'));
    writeFileSync(join(dir, 'net/10.1.2.7'), 'c1');
    writeFileSync(join(dir, 'net/10.1.2.8'), 'c2');
    await call({ command: 'GC', conf: conf(dual, valid('c1')) });
    expect(leased()).toEqual(['10.1.2.7']);
  });

  it('frees nothing when the list cannot be read', async () => {
    await added({ conf: conf(dual) });
    const answer = await call({
      command: 'GC',
      conf: conf(dual, { 'cni.dev/valid-attachments': [{ containerID: 1 }] }),
    });
    expect(answer.json).toMatchObject({ code: 7 });
    expect(leased()).toHaveLength(2);
  });
});

describe('STATUS', () => {
  it('is ready with free addresses, and leaves no trace', async () => {
    expect((await call({ command: 'STATUS', conf: conf(dual) })).exit).toBe(0);
    expect(readdirSync(dir)).toEqual([]);
  });

  it('says 50 and names the exhausted set with its size', async () => {
    const ipam = { ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/126' }]] };
    await added({ conf: conf(ipam), id: 'a' });
    expect((await call({ command: 'STATUS', conf: conf(ipam) })).exit).toBe(0);
    await added({ conf: conf(ipam), id: 'b' });
    const answer = await call({ command: 'STATUS', conf: conf(ipam) });
    const msg = 'no free address in range set 1 (fd00:1::1-fd00:1::3): all 2 addresses are leased';
    expect(answer.json).toEqual({ cniVersion: '1.1.0', code: 50, msg });
  });

  it('says 50 when leases could not be written', async () => {
    writeFileSync(join(dir, 'file'), '');
    const answer = await call({ command: 'STATUS', conf: conf({ ...dual, dataDir: join(dir, 'file') }) });
    expect(answer.json).toMatchObject({ code: 50, msg: expect.stringContaining('cannot write leases') });
  });

  it('says 7 when the configuration is wrong, but not when the runtime gives the ranges later', async () => {
    expect((await call({ command: 'STATUS', conf: conf({}) })).json).toMatchObject({ code: 7 });
    expect((await call({ command: 'STATUS', conf: conf({}, { capabilities: { ipRanges: true } }) })).exit).toBe(0);
  });
});

/** Delegation (spec section 4): what an IPAM plugin of somebody else is given, and what becomes of what it says. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { it, itOurs } from '../support/case.ts';
import { ForeignIpam, linkedHostLocal } from '../support/foreign-ipam.ts';
import { binDir, type Host } from '../support/netns.ts';
import { failureOf, fine, Pod } from '../support/pod.ts';
import { errorCode } from '../support/suite.ts';

const attach = (host: Host, more = {}, cniVersion = '1.1.0') =>
  new Pod(host, { cniVersion, name: 'net', type: 'bridge', bridge: 'br0', ipam: { type: 'foreign', key: 1 }, ...more });

const result = {
  cniVersion: '1.1.0',
  ips: [{ address: '10.9.0.5/24', gateway: '10.9.0.1' }],
  routes: [{ dst: '0.0.0.0/0' }],
  dns: { nameservers: ['10.9.0.53'] },
};

function foreign(host: Host): ForeignIpam {
  const ipam = new ForeignIpam(host);
  ipam.answer('ADD', result);
  return ipam;
}

const linksOf = (host: Host): string[] =>
  (JSON.parse(host.exec('ip -j link')) as { ifname: string }[]).map((l) => l.ifname);

describe('what the delegated plugin is given', () => {
  it.for(['ADD', 'CHECK', 'DEL'])('on %s: the whole configuration, byte for byte', (command, { host }) => {
    const ipam = foreign(host);
    const pod = attach(host);
    const prevResult = pod.add({ path: ipam.path });
    const conf = `${JSON.stringify({ ...pod.conf, prevResult, own: [1.0, 'ü', null] }, null, 3)}\n`;
    if (command === 'ADD') pod.del({ path: ipam.path });
    pod.call(command, { path: ipam.path, conf });
    const last = ipam.calls.filter((c) => c.env['CNI_COMMAND'] === command).at(-1)!;
    expect(last.stdin).toBe(conf);
  });

  it('the same environment, our own variables included', ({ host }) => {
    const ipam = foreign(host);
    const pod = attach(host);
    pod.add({ path: ipam.path, args: 'IgnoreUnknown=1;FOO=BAR', env: { CUSTOM: 'kept as it is' } });
    expect(ipam.calls[0]!.env).toMatchObject({
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: pod.id,
      CNI_NETNS: pod.netns,
      CNI_IFNAME: 'eth0',
      CNI_PATH: ipam.path,
      CNI_ARGS: 'IgnoreUnknown=1;FOO=BAR',
      CUSTOM: 'kept as it is',
    });
  });

  itOurs('no variable that we were not given', ({ host }) => {
    const ipam = foreign(host);
    attach(host).add({ path: ipam.path });
    const names = Object.keys(ipam.calls[0]!.env).filter((n) => !['PATH', 'PWD', '_', 'SHLVL'].includes(n));
    expect(names.sort()).toEqual(['CNI_COMMAND', 'CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_NETNS', 'CNI_PATH']);
  });

  it('its standard error reaches ours', ({ host }) => {
    const ipam = foreign(host);
    expect(attach(host).call('ADD', { path: ipam.path }).stderr).toContain('foreign says ADD');
  });
});

describe('its result', () => {
  it('is configured and answered', ({ host }) => {
    const pod = attach(host);
    const answer = pod.add({ path: foreign(host).path });
    expect(answer.ips).toEqual([{ interface: 2, address: '10.9.0.5/24', gateway: '10.9.0.1' }]);
    expect(answer.routes).toEqual([{ dst: '0.0.0.0/0' }]);
    expect(answer.dns).toEqual({ nameservers: ['10.9.0.53'] });
    expect(pod.exec('ip -4 -o addr show eth0')).toContain('10.9.0.5/24');
    expect(pod.exec('ip route')).toContain('default via 10.9.0.1');
  });

  it.for([
    ['0.1.0', { cniVersion: '0.1.0', ip4: { ip: '10.9.0.5/24', gateway: '10.9.0.1', routes: [{ dst: '0.0.0.0/0' }] } }],
    ['0.2.0', { cniVersion: '0.2.0', ip4: { ip: '10.9.0.5/24', gateway: '10.9.0.1', routes: [{ dst: '0.0.0.0/0' }] } }],
    ['0.3.1', { cniVersion: '0.3.1', ips: [{ version: '4', address: '10.9.0.5/24', gateway: '10.9.0.1' }] }],
    ['0.4.0', { cniVersion: '0.4.0', ips: [{ version: '4', address: '10.9.0.5/24', gateway: '10.9.0.1' }] }],
    ['1.0.0', { cniVersion: '1.0.0', ips: [{ address: '10.9.0.5/24', gateway: '10.9.0.1' }] }],
  ] as const)('is understood in version %s though we are asked in 1.1.0', ([, old], { host }) => {
    const ipam = new ForeignIpam(host);
    ipam.answer('ADD', old);
    const pod = attach(host);
    expect(pod.add({ path: ipam.path }).ips).toEqual([{ interface: 2, address: '10.9.0.5/24', gateway: '10.9.0.1' }]);
  });

  it('may carry a newer shape than the version we are asked in', ({ host }) => {
    const pod = attach(host, {}, '0.3.1');
    expect(pod.add({ path: foreign(host).path }).ips).toEqual([
      { version: '4', interface: 2, address: '10.9.0.5/24', gateway: '10.9.0.1' },
    ]);
  });

  const useless = [
    ['no addresses', { cniVersion: '1.1.0', ips: [] }],
    ['nothing', ''],
    ['no JSON', 'hello'],
    ['an unknown version', { cniVersion: '8.0.0', ips: [{ address: '10.9.0.5/24' }] }],
    ['an address that is none', { cniVersion: '1.1.0', ips: [{ address: 'here' }] }],
  ] as const;

  it.for(useless)('of %s is an error', ([, output], { host }) => {
    const ipam = new ForeignIpam(host);
    ipam.answer('ADD', output);
    failureOf(attach(host).call('ADD', { path: ipam.path }));
  });

  itOurs.for(useless)('of %s leaves nothing behind', ([, output], { host }) => {
    const ipam = new ForeignIpam(host);
    ipam.answer('ADD', output);
    const pod = attach(host);
    failureOf(pod.call('ADD', { path: ipam.path }));
    expect(linksOf(host).filter((name) => name.startsWith('veth'))).toEqual([]);
    expect(pod.ip('link').map((l) => l['ifname'])).toEqual(['lo']);
  });

  itOurs('of no addresses is answered with its own DEL', ({ host }) => {
    const ipam = new ForeignIpam(host);
    ipam.answer('ADD', { cniVersion: '1.1.0', ips: [] });
    failureOf(attach(host).call('ADD', { path: ipam.path }));
    expect(ipam.commands).toEqual(['ADD', 'DEL']);
  });
});

describe('its errors', () => {
  const failing = (host: Host, command: string): ForeignIpam => {
    const ipam = foreign(host);
    ipam.answer(command, { cniVersion: '1.1.0', code: 117, msg: 'no luck', details: 'today' }, true);
    return ipam;
  };

  it.for(['ADD', 'CHECK', 'DEL', 'STATUS'])(
    'of %s come through with code, message and details',
    (command, { host }) => {
      const ipam = failing(host, command);
      const pod = attach(host);
      const conf = { ...pod.conf, ...(command === 'CHECK' ? { prevResult: { cniVersion: '1.1.0' } } : {}) };
      expect(failureOf(pod.call(command, { path: ipam.path, conf }))).toMatchObject({
        code: 117,
        msg: expect.stringContaining('no luck'),
        details: 'today',
      });
    },
  );

  itOurs('of GC come through as well', ({ host }) => {
    const ipam = failing(host, 'GC');
    expect(failureOf(attach(host).call('GC', { path: ipam.path })).code).toBe(117);
  });

  itOurs('of ADD are followed by its DEL before ours is told', ({ host }) => {
    const ipam = failing(host, 'ADD');
    failureOf(attach(host).call('ADD', { path: ipam.path }));
    expect(ipam.commands).toEqual(['ADD', 'DEL']);
  });

  it('of ADD leave no link in the container', ({ host }) => {
    const ipam = failing(host, 'ADD');
    const pod = attach(host);
    failureOf(pod.call('ADD', { path: ipam.path }));
    pod.del({ path: ipam.path });
    expect(pod.ip('link').map((l) => l['ifname'])).toEqual(['lo']);
  });

  it('without an error object still make an error object of ours', ({ host }) => {
    const ipam = foreign(host);
    ipam.answer('ADD', 'segmentation fault', true);
    expect(failureOf(attach(host).call('ADD', { path: ipam.path })).code).toBe(errorCode(100, 0));
  });

  itOurs('of DEL do not keep our own part from being removed', ({ host }) => {
    const ipam = failing(host, 'DEL');
    const pod = attach(host);
    pod.add({ path: ipam.path });
    failureOf(pod.call('DEL', { path: ipam.path }));
    expect(pod.ip('link').map((l) => l['ifname'])).toEqual(['lo']);
    expect(linksOf(host).filter((name) => name.startsWith('veth'))).toEqual([]);
  });
});

describe('commands forwarded', () => {
  it('CHECK, DEL and STATUS', ({ host }) => {
    const ipam = foreign(host);
    const pod = attach(host);
    const prevResult = pod.add({ path: ipam.path });
    fine(pod.call('CHECK', { path: ipam.path, conf: { ...pod.conf, prevResult } }));
    fine(pod.call('STATUS', { path: ipam.path }));
    pod.del({ path: ipam.path });
    expect(ipam.commands).toEqual(['ADD', 'CHECK', 'STATUS', 'DEL']);
  });

  itOurs('GC, with the list of valid attachments', ({ host }) => {
    const ipam = foreign(host);
    const pod = attach(host);
    const conf = { ...pod.conf, 'cni.dev/valid-attachments': [{ containerID: 'a', ifname: 'eth0' }] };
    fine(pod.call('GC', { path: ipam.path, conf }));
    expect(ipam.commands).toEqual(['GC']);
    expect(JSON.parse(ipam.calls[0]!.stdin)).toEqual(conf);
  });

  it('DEL also when the container is gone, and without CNI_NETNS', ({ host }) => {
    const ipam = foreign(host);
    const pod = attach(host);
    pod.add({ path: ipam.path });
    pod.del({ path: ipam.path, netns: '' });
    host.removePod(pod.netns);
    pod.del({ path: ipam.path });
    expect(ipam.commands).toEqual(['ADD', 'DEL', 'DEL']);
  });

  it('nothing when there is no ipam', ({ host }) => {
    const ipam = foreign(host);
    const pod = attach(host, { ipam: {} });
    pod.add({ path: ipam.path });
    pod.del({ path: ipam.path });
    expect(ipam.commands).toEqual([]);
  });
});

describe('finding it', () => {
  it.for(['ADD', 'DEL', 'CHECK', 'STATUS'])('%s fails when it is in no folder of CNI_PATH', (command, { host }) => {
    const pod = attach(host, { prevResult: { cniVersion: '1.1.0' } });
    const error = failureOf(pod.call(command, { path: '/nowhere:/neither' }));
    expect(error.msg).toContain('foreign');
    expect(error.code).toBe(errorCode(100));
  });

  it('takes the first folder of CNI_PATH that has it', ({ host }) => {
    const ipam = foreign(host);
    const second = join(host.dir, 'second');
    mkdirSync(second);
    writeFileSync(join(second, 'foreign'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    attach(host).add({ path: `/nowhere:${ipam.dir}:${second}:${binDir}` });
    expect(ipam.commands).toEqual(['ADD']);
  });

  it.for(['../foreign', 'a/b', '/bin/true', '..', '.'])('refuses the type %j', (type, { host }) => {
    const ipam = foreign(host);
    const pod = attach(host, { ipam: { type } });
    failureOf(pod.call('ADD', { path: `${ipam.dir}/calls:${ipam.path}` }));
    expect(ipam.commands).toEqual([]);
  });

  it('host-local of a folder that holds only a link to it', ({ host }) => {
    const path = linkedHostLocal(host);
    const ipam = { type: 'host-local', subnet: '10.4.0.0/24', dataDir: join(host.dir, 'leases') };
    const pod = attach(host, { ipam });
    expect(pod.add({ path }).ips?.[0]?.address).toBe('10.4.0.2/24');
    pod.del({ path });
  });

  it("another vendor's host-local that comes first on CNI_PATH is the one that is asked", ({ host }) => {
    const ipam = foreign(host);
    const first = join(host.dir, 'first');
    mkdirSync(first);
    writeFileSync(join(first, 'host-local'), `#!/bin/sh\nexec '${ipam.dir}/foreign'\n`, { mode: 0o755 });
    const pod = attach(host, { ipam: { type: 'host-local', subnet: '10.4.0.0/24' } });
    expect(pod.add({ path: `${first}:${binDir}` }).ips?.[0]?.address).toBe('10.9.0.5/24');
    expect(ipam.commands).toEqual(['ADD']);
  });
});

/** host-local: the files a lease consists of, its end by DEL and GC, and what CHECK and STATUS say about it. */

import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { it, itOurs } from '../support/case.ts';
import { addresses, dataDir, lease, leased, leaseFiles } from '../support/ipam.ts';
import { type Answer, binDir, type Host, inside, run } from '../support/netns.ts';
import { failureOf, fine } from '../support/pod.ts';
import { errorCode } from '../support/suite.ts';

const subnet = '10.1.2.0/24';
const dual = { ranges: [[{ subnet }], [{ subnet: 'fd00::/64' }]] };

describe('the files', () => {
  it('are named after the address and hold container id and interface', ({ host }) => {
    lease(host, dual, { id: 'abc' }).add();
    expect(leaseFiles(host)).toEqual({
      '10.1.2.2': 'abc\r\neth0',
      'fd00::2': 'abc\r\neth0',
      'last_reserved_ip.0': '10.1.2.2',
      'last_reserved_ip.1': 'fd00::2',
    });
  });

  it('lie in a folder per network', ({ host }) => {
    lease(host, { subnet }, { name: 'blue' }).add();
    lease(host, { subnet }, { name: 'red' }).add();
    expect(
      readdirSync(dataDir(host))
        .filter((n) => !n.startsWith('.'))
        .sort(),
    ).toEqual(['blue', 'red']);
    expect(leased(host, 'blue')).toEqual(['10.1.2.2']);
  });

  it('are readable by root only, in a folder everybody may list', ({ host }) => {
    lease(host, { subnet }).add();
    expect(statSync(join(dataDir(host), 'net')).mode & 0o777).toBe(0o755);
    expect(statSync(join(dataDir(host), 'net', '10.1.2.2')).mode & 0o777).toBe(0o600);
  });

  it('without dataDir lie in /var/lib/cni/networks', ({ host }) => {
    const conf = JSON.stringify({
      cniVersion: '1.1.0',
      name: 'net',
      type: 'host-local',
      ipam: { type: 'host-local', subnet },
    });
    const script = `mount -t tmpfs tmpfs /var/lib && '${binDir}/host-local' >/dev/null && ls /var/lib/cni/networks/net`;
    const variables = `CNI_COMMAND=ADD CNI_CONTAINERID=a CNI_NETNS=/x CNI_IFNAME=eth0 CNI_PATH=${binDir}`;
    const argv = [...inside(host.netns, `unshare -m env ${variables} sh -c`), script];
    expect(run(argv, conf)).toContain('10.1.2.2');
  });

  it('go with DEL, of that attachment only', ({ host }) => {
    const pod = lease(host, dual, { id: 'a' });
    pod.add();
    lease(host, dual, { id: 'b' }).add();
    lease(host, dual, { id: 'ab' }).add();
    pod.del();
    expect(leased(host)).toEqual(['10.1.2.3', '10.1.2.4', 'fd00::3', 'fd00::4']);
  });

  it('of ranges that are no longer configured go with DEL too', ({ host }) => {
    const pod = lease(host, { subnet }, { id: 'a' });
    pod.add();
    lease(host, { subnet: '10.5.0.0/24' }, { id: 'a' }).del();
    expect(leased(host)).toEqual([]);
  });

  it('with only a container id, as old versions wrote them, are respected and released', ({ host }) => {
    mkdirSync(join(dataDir(host), 'net'), { recursive: true });
    writeFileSync(join(dataDir(host), 'net', '10.1.2.2'), 'old');
    expect(addresses(lease(host, { subnet }))).toEqual(['10.1.2.3/24']);
    lease(host, { subnet }, { id: 'old' }).del();
    expect(leased(host)).toEqual(['10.1.2.3']);
  });

  it('of an empty lease are nobody else’s to take', ({ host }) => {
    mkdirSync(join(dataDir(host), 'net'), { recursive: true });
    writeFileSync(join(dataDir(host), 'net', '10.1.2.2'), '');
    expect(addresses(lease(host, { subnet }))).toEqual(['10.1.2.3/24']);
  });

  it.for(['', 'garbage', '10.77.0.1', 'fd00::1'])(
    'with %j as the last reserved address start at the range’s beginning',
    (text, { host }) => {
      mkdirSync(join(dataDir(host), 'net'), { recursive: true });
      writeFileSync(join(dataDir(host), 'net', 'last_reserved_ip.0'), text);
      expect(addresses(lease(host, { subnet }))).toEqual(['10.1.2.2/24']);
    },
  );

  it('whose last reserved address is the range’s end start at its beginning', ({ host }) => {
    mkdirSync(join(dataDir(host), 'net'), { recursive: true });
    writeFileSync(join(dataDir(host), 'net', 'last_reserved_ip.0'), '10.1.2.254');
    expect(addresses(lease(host, { subnet }))).toEqual(['10.1.2.2/24']);
  });
});

describe('DEL', () => {
  it('succeeds without an ADD, and makes no lease', ({ host }) => {
    lease(host, { subnet }).del();
    expect(leased(host)).toEqual([]);
  });

  it('succeeds twice', ({ host }) => {
    const pod = lease(host, { subnet });
    pod.add();
    pod.del();
    pod.del();
    expect(leased(host)).toEqual([]);
  });

  it('without CNI_NETNS releases', ({ host }) => {
    const pod = lease(host, { subnet });
    pod.add();
    pod.del({ netns: '' });
    expect(leased(host)).toEqual([]);
  });

  it('succeeds when the folder of leases was removed', ({ host }) => {
    const pod = lease(host, { subnet });
    pod.add();
    rmSync(dataDir(host), { recursive: true });
    pod.del();
  });

  it('keeps the place of the turn', ({ host }) => {
    const pod = lease(host, { subnet });
    pod.add();
    pod.del();
    expect(leaseFiles(host)).toEqual({ 'last_reserved_ip.0': '10.1.2.2' });
    expect(addresses(lease(host, { subnet }))).toEqual(['10.1.2.3/24']);
  });
});

describe('CHECK', () => {
  const checked = (host: Host, spoil: (file: string) => void): Answer => {
    const pod = lease(host, { subnet });
    const result = pod.add();
    spoil(join(dataDir(host), 'net', '10.1.2.2'));
    return pod.check(result);
  };

  it('succeeds while the lease is there', ({ host }) => {
    fine(checked(host, () => {}));
  });

  it('fails when the lease is gone', ({ host }) => {
    expect(failureOf(checked(host, (file) => rmSync(file))).code).toBe(errorCode(103));
  });

  it('fails when the lease is somebody else’s', ({ host }) => {
    expect(failureOf(checked(host, (file) => writeFileSync(file, 'other\r\neth0'))).code).toBe(errorCode(103));
  });

  itOurs('tells found and wanted', ({ host }) => {
    const error = failureOf(checked(host, (file) => writeFileSync(file, 'other\r\neth0')));
    expect(error.details).toContain('10.1.2.2');
    expect(JSON.parse(error.details!)[0]).toHaveProperty('got');
    expect(JSON.parse(error.details!)[0]).toHaveProperty('want');
  });
});

describe('GC', () => {
  const collect = (host: Host, valid: unknown, name = 'net'): Answer =>
    lease(host, { subnet }, { name, more: { 'cni.dev/valid-attachments': valid } }).call('GC');

  itOurs('releases every lease that is not in the list', ({ host }) => {
    for (const id of ['a', 'b', 'c']) lease(host, { subnet }, { id }).add();
    fine(collect(host, [{ containerID: 'b', ifname: 'eth0' }]));
    expect(leaseFiles(host)).toEqual({ '10.1.2.3': 'b\r\neth0', 'last_reserved_ip.0': '10.1.2.4' });
  });

  itOurs('distinguishes interfaces of one container', ({ host }) => {
    const pod = lease(host, { subnet }, { id: 'a' });
    pod.add();
    pod.add({ ifname: 'eth1' });
    fine(collect(host, [{ containerID: 'a', ifname: 'eth1' }]));
    expect(leased(host)).toEqual(['10.1.2.3']);
  });

  itOurs.for([[[]], [undefined], [null]])('with the list %j releases all', ([valid], { host }) => {
    lease(host, { subnet }).add();
    fine(collect(host, valid));
    expect(leased(host)).toEqual([]);
  });

  itOurs('leaves other networks alone', ({ host }) => {
    lease(host, { subnet }, { name: 'other' }).add();
    fine(collect(host, []));
    expect(leased(host, 'other')).toEqual(['10.1.2.2']);
  });

  itOurs.for(['all', {}, [5], [{ containerID: 5, ifname: 'eth0' }], [{ containerID: 'a' }]])(
    'with the unreadable list %j releases nothing: code 7',
    (valid, { host }) => {
      lease(host, { subnet }).add();
      expect(failureOf(collect(host, valid)).code).toBe(7);
      expect(leased(host)).toEqual(['10.1.2.2']);
    },
  );

  itOurs('keeps an old lease without interface while its container is valid', ({ host }) => {
    mkdirSync(join(dataDir(host), 'net'), { recursive: true });
    writeFileSync(join(dataDir(host), 'net', '10.1.2.2'), 'old');
    fine(collect(host, [{ containerID: 'old', ifname: 'eth0' }]));
    expect(leased(host)).toEqual(['10.1.2.2']);
    fine(collect(host, []));
    expect(leased(host)).toEqual([]);
  });

  it('succeeds where no network ever was, and makes no lease', ({ host }) => {
    fine(collect(host, []));
    expect(leased(host)).toEqual([]);
  });
});

describe('STATUS', () => {
  const full = { subnet, rangeStart: '10.1.2.10', rangeEnd: '10.1.2.11' };

  it('is fine while there are addresses', ({ host }) => {
    lease(host, full).add();
    fine(lease(host, full).call('STATUS'));
  });

  itOurs('says with code 50 that a range is exhausted, and names it', ({ host }) => {
    lease(host, full).add();
    lease(host, full).add();
    const error = failureOf(lease(host, full).call('STATUS'));
    expect(error.code).toBe(50);
    expect(error.msg + (error.details ?? '')).toContain('10.1.2.10');
  });

  itOurs('is fine again when one was released', ({ host }) => {
    const pod = lease(host, full);
    pod.add();
    lease(host, full).add();
    pod.del();
    fine(pod.call('STATUS'));
  });

  itOurs('is an error when one of several sets is exhausted', ({ host }) => {
    const ranges = [[{ subnet }], [{ subnet: '10.3.0.0/30' }]];
    lease(host, { ranges }).add();
    expect(failureOf(lease(host, { ranges }).call('STATUS')).code).toBe(50);
  });

  itOurs('refuses a wrong configuration with code 7', ({ host }) => {
    expect(failureOf(lease(host, { subnet: 'x' }).call('STATUS')).code).toBe(7);
  });

  it('makes no folder and no lease', ({ host }) => {
    fine(lease(host, { subnet }).call('STATUS'));
    expect(existsSync(join(dataDir(host), 'net', '10.1.2.2'))).toBe(false);
  });
});

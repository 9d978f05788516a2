/** `culvert ipam` on what the plugins leave when a container vanishes without DEL, which is what containerd, having no GC, leaks. */

import { spawn } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect } from 'vitest';
import { attach, dualStack, ruleset, veths } from '../support/bridge.ts';
import { itOurs as it, needs } from '../support/case.ts';
import { Chained } from '../support/chain.ts';
import { dataDir, lease, leased, leaseFiles } from '../support/ipam.ts';
import { afterReboot, ipam, ipamJson, type ShownLease, states, sweep } from '../support/leaks.ts';
import { binDir, type Host, inside, run } from '../support/netns.ts';
import { failureOf, type Pod, resultOf } from '../support/pod.ts';
import { referenceDir } from '../support/suite.ts';

const subnet = '10.1.2.0/24';
const culvert = join(binDir, 'culvert');
const keys = { isDefaultGateway: true, ipMasq: true };

/** An attachment of host-local alone, in a namespace of its own. */
function held(host: Host, id: string, netns = host.pod(), range = { subnet }): { netns: string; pod: Pod } {
  const pod = lease(host, range, { id });
  resultOf(pod.call('ADD', { netns }));
  return { netns, pod };
}

describe('a container whose namespace is gone', () => {
  it('is leaked, and sweep frees its leases and its masquerade, and those only', ({ host }) => {
    const [gone, stays] = [1, 2].map(() => attach(host, keys, { ipam: dualStack })) as [Pod, Pod];
    for (const pod of [gone, stays]) pod.add();
    expect(ipam(host, 'check').status).toBe(0);
    host.removePod(gone.netns);
    while (veths(host).length > 1) host.exec('sleep 0.02');
    expect(states(host)).toEqual(['10.1.2.2 leaked', '10.1.2.3 live', 'fd00:1:2::2 leaked', 'fd00:1:2::3 live']);
    expect(ipam(host, 'check').status).toBe(1);
    expect(sweep(host)).toEqual(['10.1.2.2', 'fd00:1:2::2']);
    expect(leased(host)).toEqual(['10.1.2.3', 'fd00:1:2::3']);
    expect(ruleset(host)).not.toMatch(/10\.1\.2\.2\b|fd00:1:2::2\b/);
    expect(ruleset(host)).toContain('10.1.2.3');
    expect(stays.pings('10.1.2.1')).toBe(true);
    expect(ipam(host, 'check').status).toBe(0);
  });

  it('gives its host port back to others', ({ host }) => {
    const mapping = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] };
    const [gone, next] = [1, 2].map(() => new Chained(host, { type: 'portmap', runtimeConfig: mapping })) as [
      Chained,
      Chained,
    ];
    gone.add();
    host.removePod(gone.netns);
    while (veths(host).length > 1) host.exec('sleep 0.02');
    expect(failureOf(next.call('ADD')).msg).toContain('taken');
    sweep(host);
    next.add();
    expect(host.exec('nft list table inet culvert_portmap')).not.toContain(gone.address(4));
  });

  it('leaves the firewall', ({ host }) => {
    const gone = new Chained(host, { type: 'firewall' });
    gone.add();
    host.removePod(gone.netns);
    while (veths(host).length > 0) host.exec('sleep 0.02');
    sweep(host);
    expect(host.exec('nft list table inet culvert_firewall')).not.toContain('comment');
  });

  it('is seen though its path leads to a new namespace by now', ({ host }) => {
    const { netns } = held(host, 'a');
    const name = netns.split('/').at(-1)!;
    run(['ip', 'netns', 'del', name]);
    run(['ip', 'netns', 'add', name]);
    const [found] = ipamJson<{ leases: ShownLease[] }>(host, 'show').leases;
    expect(found).toMatchObject({ state: 'leaked', reason: `namespace ${netns} is another one by now` });
  });

  it('and that was attached again is told from its new lease', ({ host }) => {
    const { netns, pod } = held(host, 'a');
    host.removePod(netns);
    expect(failureOf(pod.call('ADD', { netns: host.pod() })).msg).toContain('already leased');
    expect(sweep(host)).toEqual(['10.1.2.2']);
    resultOf(pod.call('ADD', { netns: host.pod() }));
    expect(states(host)).toEqual(['10.1.2.3 live']);
  });

  it('keeps its lease in a dry run and while it is younger than asked', ({ host }) => {
    host.removePod(held(host, 'a').netns);
    const { status, stdout } = ipam(host, 'sweep --dry-run');
    expect(status).toBe(1);
    expect(stdout).toContain('1 of 1 leases would be freed');
    expect(sweep(host, '--older-than 3600')).toEqual([]);
    expect(leased(host)).toEqual(['10.1.2.2']);
  });
});

describe('a container that lives', () => {
  it('is live with its end alone, though the process that its path named is gone', ({ host }) => {
    const netns = host.pod();
    const child = spawn('nsenter', [`--net=${netns}`, '--', 'sleep', '60']);
    host.exec('sleep 0.2');
    const pod = attach(host, keys, {});
    pod.add({ netns: `/proc/${child.pid}/ns/net` });
    const alone = lease(host, { subnet: '10.5.0.0/24' }, { id: 'alone', name: 'other' });
    resultOf(alone.call('ADD', { netns: `/proc/${child.pid}/ns/net` }));
    child.kill('SIGKILL');
    host.exec('sleep 0.2');
    // no interface tells of host-local alone, but the namespace's number is in use
    expect(states(host)).toEqual(['10.1.2.2 live', '10.5.0.2 unknown']);
    expect(sweep(host)).toEqual([]);
  });

  it('is left alone by one who does not see its namespace mounted', ({ host }) => {
    const { netns } = held(host, 'a');
    const script = `umount -l ${netns} && exec "$@"`;
    const argv = [culvert, 'ipam', 'sweep', '--data-dir', dataDir(host)];
    const said = run([...inside(host.netns, 'unshare -m sh -c'), script, 'sh', ...argv]);
    expect(said).toContain('0 of 1 leases freed');
    expect(states(host)).toEqual(['10.1.2.2 live']);
  });

  it('keeps its address from free, which says who holds it, unless forced', ({ host }) => {
    const pod = attach(host, keys, { ipam: dualStack, id: 'web' });
    pod.add();
    const refused = ipam(host, 'free 10.1.2.2');
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain('10.1.2.2 is leased to container web, interface eth0 of network net: it is live');
    expect(veths(host)).toHaveLength(1);
    expect(ipam(host, 'free 10.1.2.2 --force').status).toBe(0);
    expect(leased(host)).toEqual([]);
    expect(veths(host)).toEqual([]);
    expect(ruleset(host)).not.toContain('10.1.2.2');
    pod.del();
  });

  it('whose ADD gave the lease but has not made the interface yet is live by its namespace', ({ host }) => {
    held(host, 'a');
    expect(sweep(host)).toEqual([]);
    expect(states(host)).toEqual(['10.1.2.2 live']);
  });
});

describe('after a reboot', () => {
  const small = { subnet, rangeStart: '10.1.2.2', rangeEnd: '10.1.2.3' };
  const conf = (host: Host) =>
    JSON.stringify({
      cniVersion: '1.1.0',
      name: 'net',
      ipam: { type: 'host-local', dataDir: dataDir(host), ...small },
    });
  const add = (host: Host, id: string, boot = 1): string => {
    const env = ['CNI_COMMAND=ADD', `CNI_CONTAINERID=${id}`, 'CNI_NETNS=/run/netns/x', 'CNI_IFNAME=eth0'];
    return afterReboot(host, [join(binDir, 'host-local')], {
      boot,
      env: [...env, `CNI_PATH=${binDir}`],
      stdin: conf(host),
    });
  };

  it('every lease of the boot before is leaked, and swept', ({ host }) => {
    held(host, 'a');
    const at = ['--data-dir', dataDir(host)];
    expect(afterReboot(host, [culvert, 'ipam', 'show', ...at])).toContain('leased in an earlier boot');
    expect(leased(host)).toEqual(['10.1.2.2']);
    expect(afterReboot(host, [culvert, 'ipam', 'sweep', ...at])).toContain('1 of 1 leases freed');
    expect(leased(host)).toEqual([]);
  });

  it('a full pool serves ADD all the same, and the lease is of the new boot then', ({ host }) => {
    for (const id of ['a', 'b']) lease(host, small, { id }).add();
    failureOf(lease(host, small, { id: 'c' }).call('ADD'));
    expect(add(host, 'd')).toContain('10.1.2.2/24');
    expect(leaseFiles(host)['10.1.2.2']).toBe('d\r\neth0');
    expect(add(host, 'e')).toContain('10.1.2.3/24');
    expect(() => add(host, 'f')).toThrow(/"code": ?101/);
    expect(add(host, 'f', 2)).toContain('10.1.2.2/24');
  });

  it('a container that starts under its old id is given a lease without DEL', ({ host }) => {
    for (const id of ['a', 'b']) lease(host, small, { id }).add();
    expect(add(host, 'a')).toMatch(/10\.1\.2\.[23]\/24/);
    expect(leased(host)).toHaveLength(2);
  });
});

describe('leases of the reference plugin', () => {
  beforeEach(({ skip }) => needs({ skip }, 'the reference plugins'));
  const bin = referenceDir ?? '';
  // the address is looked for in every namespace of the machine, where other tests have theirs
  const net = `10.${100 + (process.pid % 100)}.${process.ppid % 250}`;
  const range = { subnet: `${net}.0/24` };

  it('are live where a namespace has the address, foreign where none has, and never swept', ({ host }) => {
    const netns = host.pod();
    for (const id of ['a', 'b'])
      resultOf(lease(host, range, { id, cniVersion: '1.0.0' }).call('ADD', { bin, path: bin }));
    run(inside(netns, `ip addr add ${net}.2/24 dev lo`));
    expect(states(host)).toEqual([`${net}.2 live`, `${net}.3 foreign`]);
    expect(sweep(host)).toEqual([]);
    expect(ipam(host, 'check').status).toBe(1);
    expect(ipam(host, `free ${net}.3`).status).toBe(0);
    expect(leased(host)).toEqual([`${net}.2`]);
  });

  it('are foreign also after we took them into the index, and its DEL of ours leaves nothing to show', ({ host }) => {
    const theirs = lease(host, range, { id: 'theirs', cniVersion: '1.0.0' });
    resultOf(theirs.call('ADD', { bin, path: bin }));
    const ours = lease(host, range, { id: 'ours', cniVersion: '1.0.0' });
    resultOf(ours.call('ADD', { netns: host.pod() }));
    expect(states(host)).toEqual([`${net}.2 foreign`, `${net}.3 live`]);
    ours.del({ bin, path: bin });
    theirs.del();
    expect(states(host)).toEqual([]);
    expect(leased(host)).toEqual([]);
  });

  it('goes on after our sweep, and gives the freed address again', ({ host }) => {
    host.removePod(held(host, 'a', host.pod(), range).netns);
    expect(sweep(host)).toEqual([`${net}.2`]);
    writeFileSync(join(dataDir(host), 'net/last_reserved_ip.0'), `${net}.1`);
    const next = lease(host, range, { id: 'b', cniVersion: '1.0.0' });
    expect(resultOf(next.call('ADD', { bin, path: bin })).ips?.[0]?.address).toBe(`${net}.2/24`);
  });
});

describe('the command line', () => {
  it('shows a table that a person reads, and says how many of what', ({ host }) => {
    const { netns } = held(host, 'web');
    const [heading, row, total] = ipam(host, 'show').stdout.split('\n');
    expect(heading).toMatch(/^network {2}address {3}state {2}age {2}container {2}interface {2}why$/);
    expect(row).toMatch(new RegExp(`^net {6}10\\.1\\.2\\.2  live {4}\\d+s  web {8}eth0 {7}namespace ${netns}$`));
    expect(total).toBe('1 lease: 1 live');
  });

  it('answers 0 where nothing was ever leased', ({ host }) => {
    mkdirSync(dataDir(host), { recursive: true });
    expect(ipam(host, 'show')).toMatchObject({ status: 0, stdout: 'no leases\n' });
    expect(ipam(host, 'check').status).toBe(0);
    expect(ipam(host, 'sweep').stdout).toBe('0 of 0 leases freed\n');
  });

  it.for([
    ['', /got nothing, want show, check, free or sweep/],
    ['frob', /got "frob"/],
    ['show 10.0.0.1', /unexpected argument "10.0.0.1"/],
    ['free', /want an address/],
    ['free 10.0.0.256', /got "10.0.0.256", want an IPv4 or IPv6 address/],
    ['show --force', /show: got --force/],
    ['sweep --older-than soon', /--older-than: got "soon", want a whole number of seconds/],
    ['show --frob', /--frob/],
  ] as const)('answers 2 to wrong usage: %s', ([line, message], { host }) => {
    mkdirSync(dataDir(host), { recursive: true });
    const { status, stderr } = ipam(host, line);
    expect(status).toBe(2);
    expect(stderr).toMatch(message);
  });

  it('answers 3 where it cannot look', ({ host }) => {
    expect(ipam(host, 'show')).toMatchObject({ status: 3, stderr: expect.stringContaining('want a folder of leases') });
    held(host, 'a');
    expect(ipam(host, 'show --network blue').stderr).toContain('there are net');
    expect(ipam(host, 'show --network blue').status).toBe(3);
    expect(ipam(host, 'free 10.1.2.9').status).toBe(3);
    rmSync(join(dataDir(host), 'net'), { recursive: true });
    writeFileSync(join(dataDir(host), 'net'), '');
    expect(ipam(host, 'check').status).toBe(0);
  });

  it('asks for the network where an address is leased in two, and calls both duplicate', ({ host }) => {
    for (const name of ['blue', 'red']) resultOf(lease(host, { subnet }, { name }).call('ADD', { netns: host.pod() }));
    expect(ipam(host, 'check').stdout).toContain('also leased in network red');
    expect(ipam(host, 'free 10.1.2.2')).toMatchObject({ status: 2, stderr: expect.stringContaining('blue, red') });
    expect(ipam(host, 'free 10.1.2.2 --network red').status).toBe(0);
    expect(leased(host, 'blue')).toEqual(['10.1.2.2']);
    expect(leased(host, 'red')).toEqual([]);
  });

  it('names a file of another spelling', ({ host }) => {
    mkdirSync(join(dataDir(host), 'net'), { recursive: true });
    writeFileSync(join(dataDir(host), 'net/FD00:0::2'), 'a\r\neth0');
    expect(ipam(host, 'check')).toMatchObject({ status: 1, stdout: expect.stringContaining('the lease of fd00::2') });
  });

  it('has help', ({ host }) => {
    expect(ipam(host, '--help')).toMatchObject({ status: 0, stdout: expect.stringContaining('culvert ipam sweep') });
  });
});

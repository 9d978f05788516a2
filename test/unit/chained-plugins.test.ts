/** Configurations and plans of the plugins static, ptp and tuning; their verbs run in test/conformance. */

import { describe, expect, it } from 'vitest';
import { decodePtpConf } from '../../plugins/ptp/conf.ts';
import { complete, kernelRoutes, podShare } from '../../plugins/ptp/plan.ts';
import { decodeStaticConf } from '../../plugins/static.ts';
import { decodeTuningConf, duplicateSysctls, sysctlKey } from '../../plugins/tuning/conf.ts';
import type { Request } from '../../src/cni/types.ts';
import { CniError, ConfigError } from '../../src/errors.ts';
import { parseAddress } from '../../src/net/address.ts';
import { formatPrefix, parsePrefix } from '../../src/net/prefix.ts';

const request = (conf: object, args = '') =>
  ({
    command: 'ADD',
    conf,
    args,
    cniVersion: '1.1.0',
    ifname: 'eth0',
    stdin: JSON.stringify(conf),
  }) as unknown as Request;

/** The paths of what is wrong. */
function wrong(read: () => unknown): string[] {
  try {
    read();
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map((p) => p.path);
    if (error instanceof CniError) return [`code ${error.code}`];
    throw error;
  }
  return [];
}

describe('decodeStaticConf()', () => {
  it.each([
    [{}, ['ipam']],
    [{ ipam: 5 }, ['ipam']],
    [
      { ipam: { addresses: [{ address: '10.0.0.1' }, { gateway: 'x' }] } },
      ['ipam.addresses[0].address', 'ipam.addresses[1].gateway', 'ipam.addresses[1].address'],
    ],
    [
      { ipam: {}, runtimeConfig: { ips: ['x'] }, args: { cni: { ips: ['y'] } } },
      ['args.cni.ips[0]', 'runtimeConfig.ips[0]'],
    ],
    [{ ipam: { routes: [{}], dns: { nameservers: 'x' } } }, ['ipam.routes[0].dst', 'ipam.dns.nameservers']],
  ])('%j: wrong are %j', (conf, paths) => {
    expect(wrong(() => decodeStaticConf(request(conf))).sort()).toEqual([...paths].sort());
  });

  it('says which gateway of CNI_ARGS fits no address', () => {
    const notes: string[] = [];
    decodeStaticConf(request({ ipam: {} }, 'IP=10.0.0.1/24;GATEWAY=10.0.1.1'), notes);
    expect(notes.join()).toContain('10.0.1.1');
  });
});

describe('decodePtpConf()', () => {
  it.each([
    [{}, ['ipam.type']],
    [{ ipam: 'x' }, ['ipam']],
    [{ ipam: { type: 5 } }, ['ipam.type']],
    [
      { ipam: { type: 'x' }, mtu: 1.5, ipMasq: 1, ipMasqBackend: 'pf', dns: [] },
      ['ipMasq', 'mtu', 'dns', 'ipMasqBackend'],
    ],
    [{ ipam: { type: 'x' }, mtu: 0, ipMasqBackend: 'iptables' }, []],
  ])('%j: wrong are %j', (conf, paths) => {
    expect(wrong(() => decodePtpConf(request(conf))).sort()).toEqual([...paths].sort());
  });
});

const ip = (address: string, gateway: string) => ({ address: parsePrefix(address)!, gateway: parseAddress(gateway)! });

describe('the plan of ptp', () => {
  it('refuses addresses without a gateway of their family', () => {
    const ips = [{ address: parsePrefix('10.0.0.2/24')! }, ip('fd00::2/64', '10.0.0.1'), ip('10.1.0.2/24', '10.1.0.1')];
    expect(wrong(() => complete({ ipamType: 'x' }, { ips }))).toEqual([
      'gateway of 10.0.0.2/24',
      'gateway of fd00::2/64',
    ]);
  });

  it('has one route to a gateway that two addresses share, and none for the network of a single address', () => {
    const ips = [ip('10.0.0.2/24', '10.0.0.1'), ip('10.0.0.3/24', '10.0.0.1'), ip('10.9.0.2/32', '169.254.1.1')];
    expect(podShare('eth0', ips, []).routes?.map((r) => `${r.prefix} ${r.via ?? 'link'}`)).toEqual([
      '10.0.0.1/32 link',
      '169.254.1.1/32 link',
      '10.0.0.0/24 10.0.0.1',
    ]);
    expect(kernelRoutes('eth0', ips).routes?.map((r) => r.prefix)).toEqual([formatPrefix(parsePrefix('10.0.0.0/24')!)]);
  });
});

describe('sysctlKey()', () => {
  it.each([
    ['net.core.somaxconn', 'net/core/somaxconn'],
    ['net/ipv4/conf/IFNAME/arp_filter', 'net/ipv4/conf/eth0.1/arp_filter'],
    ['/net/core/somaxconn', 'net/core/somaxconn'],
    ['kernel.msgmax', undefined],
    ['net', undefined],
    ['network.x', undefined],
    ['net.core.a=b', undefined],
    ['net.core.a b', undefined],
  ])('%j is %j', (name, key) => {
    expect(sysctlKey(name, 'eth0.1')).toBe(key);
  });
});

describe('duplicateSysctls()', () => {
  it.each([
    ['{"sysctl":{"a":"1","b":"2"}}', []],
    ['{"sysctl":{"a":"1","b":"2","a":"1"}}', ['a']],
    ['{"x":{"sysctl":{"a":"1","a":"2"}},"sysctl":{"a":"a","b":"b:"}}', []],
    ['{"sysctl":{"a\\u002eb":"{","a.b":"}"}}', ['a.b']],
  ])('%s: %j', (text, duplicates) => {
    expect(duplicateSysctls(text)).toEqual(duplicates);
  });
});

describe('decodeTuningConf()', () => {
  it.each([
    [{ sysctl: 5 }, ['sysctl']],
    [{ sysctl: { 'kernel.x': '1', 'net.a': 1 } }, ['sysctl["kernel.x"]', 'sysctl["net.a"]']],
    [{ sysctl: { 'net.a': '1', 'net/a': '2' } }, ['sysctl["net/a"]']],
    [
      { mac: 'x', mtu: -1, promisc: 0, allmulti: 'on', txQLen: 1.5, dataDir: 5 },
      ['mac', 'mtu', 'promisc', 'allmulti', 'txQLen', 'dataDir'],
    ],
    [
      { args: { cni: { mtu: 'x', sysctl: [] } }, runtimeConfig: { mac: 'y' } },
      ['args.cni.mtu', 'args.cni.sysctl', 'runtimeConfig.mac'],
    ],
  ])('%j: wrong are %j', (conf, paths) => {
    expect(wrong(() => decodeTuningConf(request(conf))).sort()).toEqual([...paths].sort());
  });
});

/** Malformed input for each plugin, and the judgement on what came back. */

import { join } from 'node:path';
import { isObject } from '../../src/decode.ts';
import type { Input, Malformer } from './malformed.ts';
import { binDir } from './netns.ts';

export const pluginNames = ['bridge', 'host-local', 'loopback'] as const;

/** A configuration that is right: what the malformed ones are made from. */
function goodConf(plugin: string, dataDir: string): object {
  const ipam = {
    type: 'host-local',
    dataDir,
    ranges: [[{ subnet: '10.1.2.0/24', rangeStart: '10.1.2.10', gateway: '10.1.2.1' }], [{ subnet: 'fd00::/64' }]],
    routes: [
      { dst: '0.0.0.0/0', mtu: 1400 },
      { dst: '::/0', gw: 'fd00::1' },
    ],
  };
  const common = {
    cniVersion: '1.1.0',
    name: 'net',
    type: plugin,
    runtimeConfig: { mac: '02:00:00:00:00:01', ips: ['10.1.2.77'] },
    args: { cni: { mac: '02:00:00:00:00:02' } },
    prevResult: {
      cniVersion: '1.1.0',
      interfaces: [{ name: 'br0' }],
      ips: [{ address: '10.1.2.77/24', interface: 0 }],
    },
    'cni.dev/valid-attachments': [{ containerID: 'a', ifname: 'eth0' }],
  };
  if (plugin === 'loopback') return common;
  if (plugin === 'host-local') return { ...common, ipam };
  const flags = { isDefaultGateway: true, ipMasq: true, hairpinMode: true, macspoofchk: true, forceAddress: true };
  return { ...common, bridge: 'br0', mtu: 1400, vlan: 0, ...flags, dns: { nameservers: ['10.1.2.1'] }, ipam };
}

/** Leases stay where the test looks for them, however the rest of the document was bent. */
function confine(stdin: string, dataDir: string): string {
  try {
    const document: unknown = JSON.parse(stdin);
    if (!isObject(document)) return stdin;
    for (const [key, value] of Object.entries(document)) {
      if (key.toLowerCase() === 'ipam' && isObject(value)) value['dataDir'] = dataDir;
    }
    return JSON.stringify(document);
  } catch {
    return stdin;
  }
}

export function malformedInput(make: Malformer, plugin: string, { pod, root }: { pod: string; root: string }): Input {
  const dataDir = join(root, 'leases');
  const good = {
    CNI_COMMAND: make.pick(['ADD', 'ADD', 'ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION']),
    CNI_CONTAINERID: 'c1',
    CNI_NETNS: pod,
    CNI_IFNAME: 'eth0',
    CNI_PATH: binDir,
    CNI_ARGS: 'IgnoreUnknown=1;MAC=02:00:00:00:00:03',
  };
  return { env: make.variables(good), stdin: confine(make.text(goodConf(plugin, dataDir)), dataDir) };
}

/** One document or nothing; an error is an error object, and never an internal one. Answers the error's code, or undefined. */
export function judge(exit: number | null, stdout: string): number | undefined {
  if (exit === 0) {
    if (stdout !== '') JSON.parse(stdout);
    return undefined;
  }
  if (exit !== 1) throw new Error(exit === null ? 'hangs' : `exit ${exit}`);
  const error: unknown = JSON.parse(stdout);
  if (
    !isObject(error) ||
    typeof error['code'] !== 'number' ||
    typeof error['msg'] !== 'string' ||
    error['msg'] === ''
  ) {
    throw new Error(`no error object: ${stdout.slice(0, 300)}`);
  }
  if (error['code'] === 999) throw new Error(`internal error: ${stdout.slice(0, 600)}`);
  return error['code'];
}

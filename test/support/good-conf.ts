/** A configuration that is right for every plugin: each takes from it what it knows. What tests of wrong input start from. */

import { plugins } from '../../plugins/plugins.ts';
import { keysOf } from '../../src/cni/keys.ts';
import { isObject, type JsonObject } from '../../src/decode.ts';

/** Where a plugin may read and write. */
export interface Scratch {
  /** Folder for what plugins keep. */
  dataDir: string;
  /** What the plugin `culvert` is told of its node. */
  nodeFile: string;
}

/** Keys that are paths a plugin writes below, or is led by to others: a test gives them, whatever else it bends. */
const pathKeys = ['dataDir', 'nodeFile', 'ipam.dataDir'] as const;

export const nodeDocument = (dataDir: string): object => ({
  podCIDRs: ['10.1.2.0/24', 'fd00::/64'],
  mtu: 1500,
  dataDir,
});

const ipam = {
  subnet: '10.1.3.0/24',
  ranges: [[{ subnet: '10.1.2.0/24', rangeStart: '10.1.2.10', gateway: '10.1.2.1' }], [{ subnet: 'fd00::/64' }]],
  addresses: [{ address: '10.1.2.78/24', gateway: '10.1.2.1' }],
  routes: [
    { dst: '0.0.0.0/0', mtu: 1400 },
    { dst: '::/0', gw: 'fd00::1' },
  ],
  dns: { nameservers: ['10.1.2.1'] },
};

const good = {
  cniVersion: '1.1.0',
  name: 'net',
  runtimeConfig: {
    mac: '02:00:00:00:00:01',
    ips: ['10.1.2.77/24'],
    ipRanges: [],
    portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
  },
  args: { cni: { mac: '02:00:00:00:00:02' } },
  prevResult: {
    cniVersion: '1.1.0',
    interfaces: [{ name: 'br0' }, { name: 'eth0', sandbox: '/run/netns/x' }],
    ips: [{ address: '10.1.2.77/24', interface: 1 }],
  },
  'cni.dev/valid-attachments': [{ containerID: 'a', ifname: 'eth0' }],
  bridge: 'br0',
  mtu: 1400,
  vlan: 0,
  isDefaultGateway: true,
  ipMasq: true,
  hairpinMode: true,
  macspoofchk: true,
  forceAddress: true,
  dns: { nameservers: ['10.1.2.1'] },
  sysctl: { 'net.core.somaxconn': '500' },
  txQLen: 1000,
  snat: true,
  conditionsV4: ['-s', '10.0.0.0/8'],
  ingressPolicy: 'open',
};

/** Puts a value at a path; objects and lists on the way are made. */
export function put(document: JsonObject, path: string, value: unknown): void {
  const steps = path.replaceAll('[]', '[0]').split(/\.|(?=\[)/);
  let place = document;
  for (const [i, step] of steps.entries()) {
    const key = step.replace(/[[\]]/g, '');
    if (i === steps.length - 1) place[key] = value;
    else {
      const isList = steps[i + 1]!.startsWith('[');
      if (typeof place[key] !== 'object' || place[key] === null) place[key] = isList ? [] : {};
      place = place[key] as JsonObject;
    }
  }
}

/** What a key takes, for those that the configuration above has not: new plugins are bent as well. */
function anyValue(want: string): unknown {
  if (want === 'true or false') return true;
  return /^a whole number from (\d+)/.exec(want)?.[1] === undefined ? undefined : 1;
}

const keys = new Map([...plugins.values()].map((plugin) => [plugin.name, keysOf(plugin)]));

/** The configuration with everything a plugin can be told, its paths in the test's scratch. */
export function goodConf(plugin: string, scratch: Scratch): JsonObject {
  const type = plugin === 'static' ? 'static' : 'host-local';
  const conf: JsonObject = { ...structuredClone(good), type: plugin, ipam: { type, ...structuredClone(ipam) } };
  for (const { path, want } of keys.get(plugin)!) {
    if (/[.[]/.test(path) || Object.hasOwn(conf, path)) continue;
    const value = anyValue(want);
    if (value !== undefined && !(path in exclusive)) conf[path] = value;
  }
  confine(conf, scratch);
  return conf;
}

/** Flags that do not go together with what stands above. */
const exclusive: Record<string, string> = { promiscMode: 'hairpinMode', disableContainerInterface: 'ipam' };

/** Has every path lead into the scratch, however the document was bent. */
export function confine(document: JsonObject, { dataDir, nodeFile }: Scratch): void {
  for (const path of pathKeys) {
    const [key, inner] = path.split('.') as [string, string?];
    const value = path === 'nodeFile' ? nodeFile : dataDir;
    if (inner === undefined) document[key] = value;
    // a key in another case is taken too
    else for (const [k, v] of Object.entries(document)) if (k.toLowerCase() === key && isObject(v)) v[inner] = value;
  }
}

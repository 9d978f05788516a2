/**
 * Bad input for every key of every plugin: the error says path, value and expectation, and nothing changes in the kernel. The
 * keys are those that the decoders ask for; a text that a plugin judges needs an entry below, or this fails.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plugins } from '../../plugins/plugins.ts';
import { type Key, keysOf } from '../../src/cni/keys.ts';
import { show } from '../../src/decode.ts';
import { goodConf, nodeDocument, put, type Scratch } from '../support/good-conf.ts';
import { Host, inside, run } from '../support/netns.ts';
import { failureOf } from '../support/pod.ts';

/** A value that is of the right type and wrong; where the error is about a part of it, that part's path and value. */
interface Wrong {
  value: unknown;
  path?: string;
  got?: unknown;
  /** The code, where it is not 7. */
  code?: number;
}

/** For a list of texts at this path. */
const subnets = (path: string): Wrong => ({ value: ['10.0.0.0/33'], path: `${path}[0]`, got: '10.0.0.0/33' });

/** Every text is right. */
const free = 'free';

const interfaceName: Wrong = { value: 'no/name' };
const mac: Wrong = { value: '02:00:00:00:00' };
const sysctl: Wrong = { value: { 'kernel.hostname': 'x' }, path: 'sysctl["kernel.hostname"]', got: 'kernel.hostname' };

/** For texts and lists of texts, by plugin and path, or by path where plugins share the key. What has a range or a form tells it itself. */
const texts: Record<string, Wrong | typeof free> = {
  'args.cni.ips': { value: ['10.1.2.999'], path: 'args.cni.ips[0]', got: '10.1.2.999' },
  'args.cni.mac': mac,
  'args.cni.sysctl': { ...sysctl, path: 'args.cni.sysctl["kernel.hostname"]' },
  'bandwidth shapedSubnets': subnets('shapedSubnets'),
  'bandwidth unshapedSubnets': subnets('unshapedSubnets'),
  'bridge bridge': interfaceName,
  'culvert nodeFile': { value: '/nonexistent/node.json', code: 50 },
  'dns.domain': free,
  'dns.nameservers': free,
  'dns.options': free,
  'dns.search': free,
  'firewall backend': { value: 'ebtables' },
  'firewall firewalldZone': free,
  'firewall ingressPolicy': { value: 'closed' },
  'firewall iptablesAdminChainName': { value: 'MY-ADMIN', code: 2 },
  'host-device device': interfaceName,
  'host-device hwaddr': { value: '02:00:00:00:00' },
  'host-device kernelpath': { value: '/sys/devices/../class' },
  'host-device pciBusID': { value: '../0000:01:00.0' },
  'host-device runtimeConfig.deviceID': { value: '../0000:01:00.0' },
  'host-local ipam.resolvConf': { value: '/nonexistent/resolv.conf' },
  ipMasqBackend: { value: 'ipchains' },
  'ipam.dataDir': { value: 'nul\0byte' },
  'ipam.dns.domain': free,
  'ipam.dns.nameservers': free,
  'ipam.dns.options': free,
  'ipam.dns.search': free,
  'ipam.type': { value: '../host-local' },
  'ipvlan mode': { value: 'l4' },
  'macvlan mac': mac,
  'macvlan mode': { value: 'brigde' },
  master: interfaceName,
  'portmap backend': { value: 'ebtables' },
  'portmap conditionsV4': { value: ['-s', '10.0.0.0/33'], path: 'conditionsV4[1]', got: '10.0.0.0/33' },
  'portmap conditionsV6': { value: ['-s', '10.0.0.0/8'], path: 'conditionsV6[1]', got: '10.0.0.0/8' },
  'portmap externalSetMarkChain': { value: 'KUBE-MARK-MASQ', code: 2 },
  'runtimeConfig.bandwidth.shapedSubnets': subnets('runtimeConfig.bandwidth.shapedSubnets'),
  'runtimeConfig.bandwidth.unshapedSubnets': subnets('runtimeConfig.bandwidth.unshapedSubnets'),
  'runtimeConfig.dns.options': free,
  'runtimeConfig.dns.searches': free,
  'runtimeConfig.dns.servers': free,
  'runtimeConfig.ips': { value: ['10.1.2.999'], path: 'runtimeConfig.ips[0]', got: '10.1.2.999' },
  'runtimeConfig.mac': mac,
  'runtimeConfig.portMappings[].protocol': { value: 'icmp' },
  'sbr gateways': { value: ['10.1.2.999'], path: 'gateways[0]', got: '10.1.2.999' },
  'tuning dataDir': free,
  'tuning mac': mac,
  'tuning sysctl': sysctl,
  'vrf vrfname': interfaceName,
};

/** A wrong value by what the key takes; undefined where every value of the type is right. */
function wrongByKind({ path, want }: Key): Wrong | undefined {
  const most = /^a whole number from \d+ to (\d+)$/.exec(want)?.[1];
  if (most !== undefined) return { value: Number(most) + 1 };
  if (want.startsWith('an IPv4') || want.startsWith('an address')) return { value: '10.1.2.999/99' };
  const first = `${path.replaceAll('[]', '[0]')}[0]`;
  if (want === 'a list of objects') return { value: [5], path: first, got: 5 };
  if (want === 'a list of lists of objects') return { value: [[5]], path: `${first}[0]`, got: 5 };
  return undefined;
}

const isText = ({ want }: Key): boolean =>
  !/^(true|an object$|a list of (objects|lists)|a whole|an IPv4|an address)/.test(want);

const entryOf = (plugin: string, { path }: Key) => texts[`${plugin} ${path}`] ?? texts[path];

/** The cases of a key: a value of another type, and a wrong one of its own. */
function casesOf(plugin: string, key: Key): Wrong[] {
  const wrongType: Wrong = { value: /^(a whole|true|an? (object|list))/.test(key.want) ? 'x' : 5 };
  const entry = entryOf(plugin, key) ?? wrongByKind(key);
  return entry === undefined || entry === free ? [wrongType] : [wrongType, entry];
}

let host: Host;
let pod: string;
let scratch: Scratch;

beforeAll(() => {
  host = new Host('bad');
  pod = host.pod();
  scratch = { dataDir: join(host.dir, 'leases'), nodeFile: join(host.dir, 'node.json') };
  writeFileSync(scratch.nodeFile, JSON.stringify(nodeDocument(scratch.dataDir)));
});
afterAll(() => host?.remove());

const listing =
  'ip -o link; ip -o addr; ip route show table all; ip -6 route show table all; ip rule; ip neigh; tc qdisc; nft list ruleset; sysctl -a 2>/dev/null | grep -E "forward|somaxconn|localnet"';

/** What the kernel holds of the machine and of the container. */
const kernelState = (): string =>
  [host.netns, pod].map((netns) => run([...inside(netns, 'sh -c'), listing])).join('\n');

function attempt(plugin: string, key: Key, wrong: Wrong): void {
  const conf = goodConf(plugin, scratch);
  put(conf, key.path, wrong.value);
  const error = failureOf(host.call({ plugin, command: 'ADD', conf, containerId: 'c1', netns: pod, ifname: 'eth0' }));
  const path = wrong.path ?? key.path.replaceAll('[]', '[0]');
  const got = wrong.got ?? wrong.value;
  const text = `${error.msg} ${error.details ?? ''}`;
  expect(error.code, text).toBe(wrong.code ?? 7);
  if (wrong.code === 50) {
    expect(text).toContain(String(got));
    return;
  }
  // the text for people and the list for programs say the same; what is refused outright has the expectation as its details
  expect(error.msg).toContain(`${path}: got ${show(got)}`);
  if (error.details?.startsWith('[')) {
    const problems = JSON.parse(error.details) as object[];
    expect(problems).toContainEqual({ path, got: show(got), want: expect.stringMatching(/./) });
  } else {
    expect(text).toMatch(wrong.code === 2 ? /: got .* no such key: / : /, want /);
  }
}

describe.each([...plugins.values()])('bad input for $name', (plugin) => {
  const keys = keysOf(plugin);

  it('has a case for every key', () => {
    expect(keys.filter((key) => isText(key) && !entryOf(plugin.name, key)).map((key) => key.path)).toEqual([]);
  });

  it.each(keys.map((key) => [key.path, key] as const))('%s', (_path, key) => {
    const before = kernelState();
    for (const wrong of casesOf(plugin.name, key)) attempt(plugin.name, key, wrong);
    expect(kernelState()).toBe(before);
  });
});

it('every entry is of a key that is there', () => {
  const known = [...plugins.values()].flatMap((p) => keysOf(p).flatMap(({ path }) => [path, `${p.name} ${path}`]));
  expect(Object.keys(texts).filter((entry) => !known.includes(entry))).toEqual([]);
});

/** Every network configuration in conf/ and in the plugins' pages is one that the plugins take, without a remark on any key. */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { decodeBandwidthConf } from '../../plugins/bandwidth/conf.ts';
import { decodeBridgeConf } from '../../plugins/bridge/conf.ts';
import { decodeCulvertConf } from '../../plugins/culvert/conf.ts';
import { decodeDummyConf } from '../../plugins/dummy.ts';
import { decodeFirewallConf } from '../../plugins/firewall/conf.ts';
import { decodeHostDeviceConf } from '../../plugins/host-device/conf.ts';
import { decodeIpvlanConf } from '../../plugins/ipvlan.ts';
import { decodeMacvlanConf } from '../../plugins/macvlan.ts';
import { plugins } from '../../plugins/plugins.ts';
import { decodePortmapConf } from '../../plugins/portmap/conf.ts';
import { decodePtpConf } from '../../plugins/ptp/conf.ts';
import { decodeSbrConf } from '../../plugins/sbr/conf.ts';
import { decodeStaticConf } from '../../plugins/static.ts';
import { decodeTuningConf } from '../../plugins/tuning/conf.ts';
import { decodeVlanConf } from '../../plugins/vlan.ts';
import { decodeVrfConf } from '../../plugins/vrf.ts';
import { conflist, conflistName } from '../../src/agent/node-files.ts';
import { FileSource } from '../../src/cluster/file.ts';
import { readConf } from '../../src/cni/conf.ts';
import { runPlugin } from '../../src/cni/skel.ts';
import type { Request } from '../../src/cni/types.ts';
import type { JsonObject } from '../../src/decode.ts';
import { createKernel } from '../../src/kernel/kernel.ts';
import type { Machine } from '../../src/kernel/machine.ts';

const root = join(import.meta.dirname, '../..');
const pages = readdirSync(join(root, 'docs/plugins'));

/** Network configurations by where they stand: files of conf/, and fenced JSON of the pages that names a network. */
const examples = new Map<string, string>([
  ...readdirSync(join(root, 'conf'))
    .filter((name) => /\.conf(list)?$/.test(name))
    .map((name): [string, string] => [`conf/${name}`, readFileSync(join(root, 'conf', name), 'utf8')]),
  ...pages.flatMap((page) =>
    [...readFileSync(join(root, 'docs/plugins', page), 'utf8').matchAll(/^```json\n(.*?)^```/gms)]
      .map(([, text = '']) => text)
      .filter((text) => text.includes('"cniVersion"') && text.includes('"type"'))
      .map((text, i): [string, string] => [`docs/plugins/${page} ${i + 1}`, text]),
  ),
]);

/** One for every plugin of the document, as a runtime derives it (spec section 3). */
function requests(text: string): Request[] {
  const document = JSON.parse(text) as JsonObject;
  const list = (document['plugins'] ?? [document]) as JsonObject[];
  return list.map((plugin) => {
    const conf = { cniVersion: document['cniVersion'], name: document['name'], ...plugin };
    const stdin = JSON.stringify(conf);
    const parameters = { containerId: 'c', netns: '/nowhere', ifname: 'eth0', args: '', path: ['/nowhere'], env: {} };
    return { command: 'ADD', ...parameters, ...readConf(stdin, 'ADD'), stdin };
  });
}

/** host-local has no kernel to touch: it runs, with its leases in a folder of ours. */
async function lease(request: Request, notes: string[]): Promise<void> {
  const dataDir = mkdtempSync(join(tmpdir(), 'culvert-examples-'));
  const exec = (argv: readonly string[]) => Promise.reject(new Error(`started ${argv.join(' ')}`));
  const machine: Machine = { exec, kernel: createKernel(exec), executable: '/nowhere', warn: (t) => notes.push(t) };
  const conf = { ...request.conf, ipam: { ...(request.conf['ipam'] as JsonObject), dataDir } };
  let stdout = '';
  const exit = await runPlugin(plugins.get('host-local')!, machine, {
    env: { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c', CNI_NETNS: '/nowhere', CNI_IFNAME: 'eth0', CNI_PATH: '/nowhere' },
    readStdin: () => JSON.stringify(conf),
    stdout: (text) => {
      stdout += text;
    },
    stderr: () => {},
  });
  rmSync(dataDir, { recursive: true });
  expect(exit, stdout).toBe(0);
}

const decoders: Record<string, (request: Request, notes: string[]) => unknown> = {
  bandwidth: decodeBandwidthConf,
  bridge: decodeBridgeConf,
  culvert: decodeCulvertConf,
  dummy: decodeDummyConf,
  firewall: decodeFirewallConf,
  'host-device': decodeHostDeviceConf,
  ipvlan: decodeIpvlanConf,
  macvlan: decodeMacvlanConf,
  portmap: decodePortmapConf,
  ptp: decodePtpConf,
  sbr: decodeSbrConf,
  static: decodeStaticConf,
  tuning: decodeTuningConf,
  vlan: decodeVlanConf,
  vrf: decodeVrfConf,
};

async function load(request: Request): Promise<string[]> {
  const notes: string[] = [];
  const type = request.conf['type'];
  const decode = decoders[String(type)];
  if (decode) decode(request, notes);
  else expect(['host-local', 'loopback']).toContain(type);
  if ((request.conf['ipam'] as JsonObject | undefined)?.['type'] === 'host-local') await lease(request, notes);
  return notes;
}

describe('examples', () => {
  it.each([...examples])('%s is taken', async (_place, text) => {
    for (const request of requests(text)) expect(await load(request)).toEqual([]);
  });

  it('every plugin has a page with an example', () => {
    for (const name of plugins.keys()) expect([...examples.keys()]).toContain(`docs/plugins/${name}.md 1`);
  });

  it('the page of the plugin culvert shows what the agent writes', () => {
    const shown = JSON.parse(examples.get('docs/plugins/culvert.md 1') ?? '{}') as object;
    expect(shown).toEqual(conflist('/run/culvert/node.json'));
    expect(readFileSync(join(root, 'docs/plugins/culvert.md'), 'utf8')).toContain(conflistName);
  });

  it('the cluster of the virtual machines is taken', () => {
    const source = new FileSource(join(root, 'vagrant/cluster.yaml'));
    expect(source.read().nodes.map((n) => n.name)).toEqual(['node1', 'node2', 'node3']);
    expect(source.notes).toEqual([]);
  });

  it('the systemd unit starts the agent with its own default configuration', () => {
    const unit = readFileSync(join(root, 'conf/culvert-agent.service'), 'utf8');
    expect(unit).toMatch(/^ExecStart=\/opt\/cni\/bin\/culvert agent --config \/etc\/culvert\/agent\.yaml$/m);
  });
});

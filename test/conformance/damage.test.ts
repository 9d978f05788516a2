/**
 * DEL after damage: whatever has been removed before, one thing or several, it succeeds and nothing is left (specification
 * section 4, DEL: "SHOULD complete … without error even if some resources are missing"). All subsets, of every list of plugins.
 */

import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { dualStack, hostLocal } from '../support/bridge.ts';
import { itOurs } from '../support/case.ts';
import { dataDir } from '../support/ipam.ts';
import { leftovers } from '../support/leftovers.ts';
import type { Host } from '../support/netns.ts';
import type { CniResult } from '../support/pod.ts';
import { type Container, Runtime } from '../support/runtime.ts';

type Plugin = { type: string } & Record<string, unknown>;

interface Attached {
  host: Host;
  container: Container;
  result: CniResult;
}

const backups = (host: Host): string => join(host.dir, 'tuning');
const nodeFile = (host: Host): string => join(host.dir, 'node.json');

const portmap = { type: 'portmap', capabilities: { portMappings: true } };

/** What the plugins of a list are told, and whether they hang on a bridge. */
const lists: Record<string, (host: Host) => Plugin[]> = {
  'bridge, portmap, firewall and tuning': (host) => [
    { type: 'bridge', bridge: 'br0', isDefaultGateway: true, ipMasq: true, ipam: hostLocal(host, dualStack) },
    portmap,
    { type: 'firewall', ingressPolicy: 'same-bridge' },
    { type: 'tuning', mtu: 1400, dataDir: backups(host) },
  ],
  'ptp and portmap': (host) => [{ type: 'ptp', ipMasq: true, ipam: hostLocal(host, dualStack) }, portmap],
  'culvert and portmap, ptp': (host) => [{ type: 'culvert', nodeFile: nodeFile(host) }, portmap],
  'culvert and portmap, bridge': (host) => [{ type: 'culvert', nodeFile: nodeFile(host) }, portmap],
};

/** What an administrator's slip leaves of a configuration: who is executed, and where files lie. */
function bare({ type, dataDir: dir, nodeFile: file, ipam }: Plugin): Plugin {
  const { type: ipamType, dataDir: leases } = (ipam ?? {}) as Record<string, unknown>;
  return {
    type,
    ...(dir ? { dataDir: dir } : {}),
    ...(file ? { nodeFile: file } : {}),
    ...(ipam ? { ipam: { type: ipamType, dataDir: leases } } : {}),
  };
}

const hostLink = ({ result }: Attached): string => result.interfaces!.find((i) => /^veth/.test(i.name))!.name;

/** In the order in which they are done: a link before the namespace that holds its other end. */
const damages: Record<string, (a: Attached) => void> = {
  'nft tables': ({ host }) => host.exec('nft flush ruleset'),
  leases: ({ host }) => rmSync(dataDir(host), { recursive: true }),
  'host link': (a) => a.host.exec(`ip link del ${hostLink(a)}`),
  bridge: ({ host }) => host.try('ip link del br0'),
  namespace: ({ host, container }) => host.removePod(container.netns),
  'configuration keys': () => {}, // DEL gets none
};

const subsets = (names: readonly string[]): string[][] =>
  Array.from({ length: 2 ** names.length }, (_, bits) => names.filter((_name, i) => bits & (1 << i)));

function writeNode(host: Host, attach: 'ptp' | 'bridge'): void {
  const node = { attach, bridge: 'br0', podCIDRs: ['10.1.2.0/24', 'fd00:1:2::/64'], addresses: [], mtu: 1450 };
  writeFileSync(nodeFile(host), JSON.stringify({ ...node, dataDir: dataDir(host) }));
}

describe.each(Object.entries(lists))('DEL of %s', (name, plugins) => {
  const onBridge = name.includes('bridge');
  const names = Object.keys(damages).filter((damage) => onBridge || damage !== 'bridge');

  itOurs.for(subsets(names).map((subset) => [subset.join(', ') || 'nothing', subset] as const))(
    'without %s leaves nothing',
    async ([, subset], { host }) => {
      writeNode(host, onBridge ? 'bridge' : 'ptp');
      const runtime = new Runtime(host, plugins(host));
      const runtimeConfig = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'udp' }] };
      const container: Container = { id: 'damaged', netns: host.pod(), runtimeConfig };
      const result = (await runtime.add(container))!;
      for (const damage of subset) damages[damage]!({ host, container, result });

      if (subset.includes('configuration keys')) {
        const { id, netns } = container;
        await new Runtime(host, plugins(host).map(bare)).del({ id, netns });
        await runtime.gc([]); // masquerade that the configuration does not tell of any more
      } else {
        await runtime.del(container, result);
      }
      expect(leftovers(host, dataDir(host))).toEqual([]);
      expect(existsSync(backups(host)) ? readdirSync(backups(host)) : []).toEqual([]);
    },
  );
});

/** Pods of the plugin `culvert` on a host whose agent has written what the node is. */

import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Host } from './netns.ts';
import { Pod } from './pod.ts';

export type Attach = 'ptp' | 'bridge';

/** Writes the node file, and answers a maker of pods: with what the runtime asks for. */
export function culvertNode(host: Host, attach: Attach = 'ptp'): (runtimeConfig?: object, id?: string) => Pod {
  for (const address of ['198.51.100.1/32', '2001:db8:1::1/128']) host.try(`ip addr add ${address} dev lo`);
  const nodeFile = join(host.dir, 'node.json');
  const node = {
    attach,
    podCIDRs: ['10.1.2.0/24', 'fd00:1:2::/64'],
    addresses: ['198.51.100.1', '2001:db8:1::1'],
    mtu: 1500,
    dataDir: join(host.dir, 'leases'),
    bridge: 'culvert0',
  };
  writeFileSync(nodeFile, JSON.stringify(node));
  return (runtimeConfig, id) =>
    new Pod(
      host,
      { cniVersion: '1.1.0', name: 'net', type: 'culvert', nodeFile, ...(runtimeConfig && { runtimeConfig }) },
      id,
    );
}

/** What attachments have on the host: links, qdiscs, mappings, leases. */
export function remains(host: Host): string[] {
  const links = JSON.parse(host.exec('ip -j link')) as { ifname: string }[];
  const table = host.try('nft list table inet culvert_portmap').stdout;
  const leases = join(host.dir, 'leases/net');
  return [
    ...links.map((l) => l.ifname).filter((name) => /^(veth|bwp|bwi)/.test(name)),
    ...(host.exec('tc qdisc show').match(/\b(tbf|clsact)\b/g) ?? []),
    ...(table.match(/comment "[^"]*"/g) ?? []),
    ...(existsSync(leases) ? readdirSync(leases).filter((name) => /^(10\.|fd00)/.test(name)) : []),
  ];
}

/** What attachments can leave behind on a host. */

import { existsSync, readdirSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { links, ruleset } from './bridge.ts';
import type { Host } from './netns.ts';

/** Addresses that are leased in any network of a folder, "net 10.1.2.2". */
function leases(dataDir: string): string[] {
  if (!existsSync(dataDir)) return [];
  return readdirSync(dataDir).flatMap((network) =>
    readdirSync(join(dataDir, network))
      .filter((file) => isIP(file) !== 0)
      .map((address) => `${network} ${address}`),
  );
}

/** Connections that are translated to a container: what they asked for is not who answers. */
function translations(host: Host): string[] {
  const listed = host.exec('conntrack -L').split('\n');
  return listed.filter((line) => {
    const [, asked, answers] = /dst=(\S+) .*?src=(\S+) /.exec(line) ?? [];
    return asked !== answers;
  });
}

/**
 * Pairs, shaping devices, elements of our tables with an attachment's name, leases, translated connections: nothing is left
 * when this is empty. Bridges and empty tables are a network's, not an attachment's.
 */
export function leftovers(host: Host, dataDir: string): string[] {
  const devices = links(host).filter((l) => ['veth', 'ifb'].includes(l.linkinfo?.info_kind ?? ''));
  const elements = ruleset(host).matchAll(/(\S+) comment "(culvert:[^"]*)"/g);
  return [
    ...devices.filter((l) => l.ifname !== 'uplink0').map((l) => `link ${l.ifname}`),
    ...[...elements].map(([, key, label]) => `element ${key} of ${label}`),
    ...leases(dataDir).map((lease) => `lease ${lease}`),
    ...translations(host).map((line) => `connection ${line}`),
  ];
}

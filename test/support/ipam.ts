/** host-local by itself: attachments that only get addresses, and the folder of lease files they leave. */

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Host } from './netns.ts';
import { Pod } from './pod.ts';

export type Ipam = Record<string, unknown>;

/** Where a network's leases lie on this machine: `dataDir` of every configuration in the cases. */
export const dataDir = (host: Host): string => join(host.dir, 'leases');

export interface Network {
  name?: string;
  cniVersion?: string;
  id?: string;
  /** Further keys of the configuration: runtimeConfig, args, … */
  more?: Record<string, unknown>;
}

/** An attachment to a network of host-local alone. */
export function lease(host: Host, ipam: Ipam, { name = 'net', cniVersion = '1.1.0', id, more }: Network = {}): Pod {
  const conf = { cniVersion, name, type: 'host-local', ipam: { type: 'host-local', dataDir: dataDir(host), ...ipam } };
  return new Pod(host, { ...conf, ...more }, id, '/run/netns/unused');
}

/** The addresses an ADD answers. */
export const addresses = (pod: Pod, extra = {}): string[] => (pod.add(extra).ips ?? []).map((ip) => ip.address);

/** Every file of a network's folder that is about leases: name → content. The suites' own files (lock, index) are left out. */
export function leaseFiles(host: Host, name = 'net', dir = dataDir(host)): Record<string, string> {
  const folder = join(dir, name);
  if (!existsSync(folder)) return {};
  const names = readdirSync(folder).filter((file) => /^[0-9a-f.:]+$|^last_reserved_ip\./.test(file));
  return Object.fromEntries(
    names
      .filter((file) => statSync(join(folder, file)).isFile())
      .sort()
      .map((file) => [file, readFileSync(join(folder, file), 'utf8')]),
  );
}

/** The leased addresses, sorted as text. */
export const leased = (host: Host, name = 'net'): string[] =>
  Object.keys(leaseFiles(host, name)).filter((file) => !file.startsWith('last_reserved_ip'));

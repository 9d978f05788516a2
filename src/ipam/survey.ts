/** All leases below a folder of networks, each judged. Only reads. */

import { join } from 'node:path';
import { StoreError } from '../errors.ts';
import type { Machine } from '../kernel/machine.ts';
import { list, stat } from '../store/lease-files.ts';
import { Leases } from '../store/leases.ts';
import { judgeOnHost } from './evidence.ts';
import type { JudgedLease, NetworkLease } from './judge.ts';
import { paced } from './paced.ts';

export const defaultDataDir = '/var/lib/cni/networks';

/** Where to look. `bootId`: the file that tells the boot, the kernel's unless told otherwise. */
export interface Place {
  readonly dataDir: string;
  readonly network?: string | undefined;
  readonly bootId?: string;
}

export interface Survey {
  readonly leases: readonly JudgedLease[];
  /** Files whose name is an address in another spelling than its own: no suite finds that lease when it looks for the address. */
  readonly misspelt: readonly { readonly file: string; readonly address: string }[];
  /** Folders of each network's index where killed processes may have left something (store/lease-listing.ts). */
  readonly leftovers: ReadonlyMap<string, ReadonlySet<string>>;
}

const isFolder = (path: string): boolean => stat(path)?.isDirectory() === true;

/** The networks that have a folder. */
export const networksIn = (dataDir: string): string[] =>
  list(dataDir).filter((name) => !name.startsWith('.') && isFolder(join(dataDir, name)));

const byAddress = (a: JudgedLease, b: JudgedLease): number => {
  const [x, y] = [a.found.address, b.found.address];
  if (a.network !== b.network) return a.network < b.network ? -1 : 1;
  return x.family - y.family || (x.value < y.value ? -1 : 1);
};

/** Throws StoreError io when the leases, CommandError when the host cannot be read. */
export async function survey({ dataDir, network, bootId }: Place, machine: Machine): Promise<Survey> {
  const networks = networksIn(dataDir);
  if (network !== undefined && !networks.includes(network)) {
    const known = networks.length > 0 ? `there are ${networks.join(', ')}` : 'there is none at all';
    throw new StoreError('io', `no network ${JSON.stringify(network)} below ${dataDir}: ${known}`);
  }
  // all of them, though one is asked for: an address may be leased in two
  const leases: NetworkLease[] = [];
  const listings = new Map(networks.map((name) => [name, new Leases(dataDir, name).list()]));
  for (const [name, listing] of listings) {
    for await (const found of paced(listing)) leases.push({ network: name, found });
  }
  const judged = await judgeOnHost(leases, machine, bootId);
  const asked = [...listings].filter(([name]) => network === undefined || name === network);
  return {
    leases: judged.filter((l) => network === undefined || l.network === network).sort(byAddress),
    misspelt: asked.flatMap(([, listing]) => listing.misspelt),
    leftovers: new Map(asked.map(([name, { leftovers }]) => [name, leftovers])),
  };
}

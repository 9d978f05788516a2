/** All leases below a folder of networks, each judged. Only reads. */

import { join } from 'node:path';
import { StoreError } from '../errors.ts';
import type { Machine } from '../kernel/machine.ts';
import { formatAddress, parseAddress } from '../net/address.ts';
import { list, stat } from '../store/lease-files.ts';
import { Leases } from '../store/leases.ts';
import { judgeOnHost } from './evidence.ts';
import type { JudgedLease, NetworkLease } from './judge.ts';

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
}

const isFolder = (path: string): boolean => stat(path)?.isDirectory() === true;

/** The networks that have a folder. */
export const networksIn = (dataDir: string): string[] =>
  list(dataDir).filter((name) => !name.startsWith('.') && isFolder(join(dataDir, name)));

function misspeltIn(folder: string): { file: string; address: string }[] {
  return list(folder).flatMap((name) => {
    const address = parseAddress(name);
    const text = address && formatAddress(address);
    return text !== undefined && text !== name ? [{ file: join(folder, name), address: text }] : [];
  });
}

const byAddress = (a: JudgedLease, b: JudgedLease): number => {
  const [x, y] = [a.found.address, b.found.address];
  return a.network.localeCompare(b.network) || x.family - y.family || (x.value < y.value ? -1 : 1);
};

/** Throws StoreError io when the leases, CommandError when the host cannot be read. */
export async function survey({ dataDir, network, bootId }: Place, machine: Machine): Promise<Survey> {
  const networks = networksIn(dataDir);
  if (network !== undefined && !networks.includes(network)) {
    const known = networks.length > 0 ? `there are ${networks.join(', ')}` : 'there is none at all';
    throw new StoreError('io', `no network ${JSON.stringify(network)} below ${dataDir}: ${known}`);
  }
  // all of them, though one is asked for: an address may be leased in two
  const leases = networks.flatMap((name): NetworkLease[] =>
    new Leases(dataDir, name).list().map((found) => ({ network: name, found })),
  );
  const judged = await judgeOnHost(leases, machine, bootId);
  const wanted = judged.filter((l) => network === undefined || l.network === network).sort(byAddress);
  const asked = network === undefined ? networks : [network];
  return { leases: wanted, misspelt: asked.flatMap((name) => misspeltIn(join(dataDir, name))) };
}

/** Leases as people read them, and as programs do. */

import { type JudgedLease, leaseStates } from '../ipam/judge.ts';
import { table } from '../lab/table.ts';
import { formatAddress } from '../net/address.ts';

/** As runtimes abbreviate them. */
const shortId = (id: string): string => (/^[0-9a-f]{20,}$/.test(id) ? id.slice(0, 12) : id);

/** "12s", "5m", "3h", "9d". */
export function formatAge(ms: number): string {
  const units: [number, string][] = [
    [86_400_000, 'd'],
    [3_600_000, 'h'],
    [60_000, 'm'],
  ];
  const [size, unit] = units.find(([length]) => ms >= length) ?? [1000, 's'];
  return `${Math.max(0, Math.floor(ms / size))}${unit}`;
}

/** The table; no line at all for no leases. */
export function renderLeases(leases: readonly JudgedLease[]): string[] {
  if (leases.length === 0) return [];
  const rows = leases.map(({ network, found, state, ageMs, reason }) => [
    network,
    formatAddress(found.address),
    state,
    formatAge(ageMs),
    shortId(found.owner.containerId) || '-',
    found.owner.ifname || '-',
    reason,
  ]);
  const heading = ['network', 'address', 'state', 'age', 'container', 'interface', 'why'];
  return table([heading, ...rows], ['left', 'left', 'left', 'right']);
}

/** "12 leases: 10 live, 2 leaked". */
export function summary(leases: readonly JudgedLease[]): string {
  const counts = leaseStates.flatMap((state) => {
    const count = leases.filter((l) => l.state === state).length;
    return count > 0 ? [`${count} ${state}`] : [];
  });
  const noun = leases.length === 1 ? 'lease' : 'leases';
  return counts.length === 0 ? 'no leases' : `${leases.length} ${noun}: ${counts.join(', ')}`;
}

export function leaseDocument({ network, found, state, reason, ageMs }: JudgedLease): object {
  const identity = found.entry?.identity;
  return {
    network,
    address: formatAddress(found.address),
    containerId: found.owner.containerId,
    ifname: found.owner.ifname,
    state,
    reason,
    ageSeconds: Math.floor(ageMs / 1000),
    ...(identity && { bootId: identity.bootId }),
    ...(identity?.netns && { netns: identity.netns.path }),
  };
}

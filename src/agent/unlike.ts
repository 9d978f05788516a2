/** What nodes say of themselves that should be the same everywhere, unless it is being changed. */

import { formatTraffic } from '../plan/change.ts';
import type { NodeStatus } from './status.ts';

/** So many names of nodes are said, then how many there are more. */
const namesShown = 5;

export const nameList = (nodes: readonly string[]): string =>
  nodes.length > namesShown + 1
    ? `${nodes.slice(0, namesShown).join(', ')} and ${nodes.length - namesShown} more`
    : nodes.join(', ');

/** In words, which nodes have which; nothing when all have the same. */
function unlike(what: string, said: readonly NodeStatus[], of: (status: NodeStatus) => string): string[] {
  const groups = [...Map.groupBy(said, of)];
  const parts = groups.map(([value, nodes]) => `${value} on ${nameList(nodes.map((n) => n.node))}`);
  return groups.length > 1 ? [`${what} is not the same everywhere: ${parts.join('; ')}`] : [];
}

export const unlikeModes = (said: readonly NodeStatus[]): string[] =>
  unlike('mode', said, (s) => formatTraffic(s.traffic));

/** Large packets between such nodes need a closer look. */
export const unlikeMtus = (said: readonly NodeStatus[]): string[] => unlike("pods' MTU", said, (s) => String(s.mtu));

/**
 * The agent's second nft table, `inet culvert_flowtable`: once a pod's TCP or UDP connection has been let through, the kernel takes
 * its packets from one device to the other where they come in, past routing and every forward chain. The chain comes behind all that
 * filter, so that nothing is let past which they drop. A changed route ends the short cut, and the next packet makes it anew. A table
 * of its own: pods come and go, and what lists all podCIDRs is not written anew for them.
 */

import { families } from '../net/address.ts';
import { type ClusterNode, podCidrsOf } from './cluster.ts';
import type { LinkState, TableState } from './host.ts';

export const flowtableTable = 'culvert_flowtable';

/** The host's end of a pod that the plugins attached, by their label; a bridge's port is led to by the bridge. */
const isPodEnd = ({ make, alias, master }: LinkState): boolean =>
  make.kind === 'veth' && !master && /^culvert:[0-9a-f]{8}:/.test(alias ?? '');

/** Names that nft takes and prints as they are. */
const isPlain = (name: string): boolean => /^[A-Za-z_.][A-Za-z0-9_./-]*$/.test(name);

/** The devices at which packets of this node's pods come in: those that lead to other nodes, pods' ends, the pods' bridge. */
export function flowDevices(leading: readonly string[], links: readonly LinkState[], bridge: string): string[] {
  const local = links.filter((l) => isPodEnd(l) || (l.name === bridge && l.make.kind === 'bridge'));
  return [...new Set([...leading, ...local.map((l) => l.name)])].filter(isPlain).sort();
}

/** Spelled as nft prints it. Every connection of a pod of this node has packets from that pod, so its podCIDRs are enough. */
export function planFlowtable(own: ClusterNode, devices: readonly string[]): TableState {
  const rules = families.flatMap((f) => {
    const prefixes = podCidrsOf(own, f).map((p) => p.text);
    if (prefixes.length === 0) return [];
    const from = prefixes.length === 1 ? prefixes[0] : `{ ${prefixes.join(', ')} }`;
    return [`\t\t${f === 4 ? 'ip' : 'ip6'} saddr ${from} meta l4proto { tcp, udp } flow add @pods`];
  });
  const text = [
    `table inet ${flowtableTable} {`,
    '\tflowtable pods {',
    '\t\thook ingress priority filter',
    `\t\tdevices = { ${devices.join(', ')} }`,
    '\t\tcounter',
    '\t}',
    '',
    '\tchain forward {',
    '\t\ttype filter hook forward priority filter + 10; policy accept;',
    ...rules,
    '\t}',
    '}',
    '',
  ].join('\n');
  return { family: 'inet', name: flowtableTable, text };
}

/** An nft command that changes nothing when it is only checked (`nft -c`), and that a kernel without flowtables refuses. */
export const flowtableCheck = `add table inet ${flowtableTable}; add flowtable inet ${flowtableTable} check { hook ingress priority filter; devices = { lo }; }`;

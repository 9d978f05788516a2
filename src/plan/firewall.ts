/**
 * Forwarding of attachments (`firewall`), as nft text.
 *
 * One set per family holds the pods' addresses: what they send is accepted, and what belongs to their connections. An element
 * carries its attachment's label as comment. `ingressPolicy` is the bridge's: bridges that are kept apart stand in one set and
 * nothing is forwarded between two of them. An isolated one routes nothing back to itself either, and its ports, which a table of
 * the bridge family holds, get no frames from each other.
 */

import { type Address, type Family, families, formatAddress } from '../net/address.ts';

export const firewallTable = 'inet culvert_firewall';
export const bridgeFirewallTable = 'bridge culvert_firewall';

export type IngressPolicy = 'open' | 'same-bridge' | 'isolated';

/** Everything of one attachment. */
export interface Firewall {
  readonly addresses: readonly Address[];
  readonly policy: IngressPolicy;
  /** The bridge the policy holds for; unused when it is open. */
  readonly bridge: string;
  /** The container's ports of the bridge. */
  readonly ports: readonly string[];
}

/** Where an element stands. */
export interface Place {
  readonly table: string;
  readonly set: string;
  readonly key: string;
}

export const podSet = (family: Family): string => `pods${family}`;

const protocol = (family: Family): string => (family === 4 ? 'ip' : 'ip6');

/** The elements that are the attachment's own: its addresses, and its ports where they are isolated. */
export const ownPlaces = ({ addresses, policy, ports }: Firewall): Place[] => [
  ...addresses.map((a) => ({ table: firewallTable, set: podSet(a.family), key: formatAddress(a) })),
  ...(policy === 'isolated' ? ports : []).map((port) => ({
    table: bridgeFirewallTable,
    set: 'isolated',
    key: `"${port}"`,
  })),
];

/** The elements of its bridge's policy, which pods share. */
export function bridgePlaces({ policy, bridge }: Firewall): Place[] {
  if (policy === 'open') return [];
  const pair = `"${bridge}" . "${bridge}"`;
  return [
    { table: firewallTable, set: 'apart', key: `"${bridge}"` },
    { table: firewallTable, set: 'same', key: pair },
    ...(policy === 'isolated' ? [{ table: firewallTable, set: 'isolated', key: pair }] : []),
  ];
}

/** The comment of a bridge's elements. */
export const sharedLabel = 'culvert';

const element = ({ table, set, key }: Place, label: string): string =>
  `element ${table} ${set} { ${key} comment "${label}" }\n`;

/** The attachment's own elements, which must be new, and the bridge's. */
export const createFirewall = (firewall: Firewall, label: string): string =>
  [
    ...ownPlaces(firewall).map((place) => `create ${element(place, label)}`),
    ...bridgePlaces(firewall).map((place) => `add ${element(place, sharedLabel)}`),
  ].join('');

const acceptPods = (family: Family): string[] => [
  `${protocol(family)} saddr @${podSet(family)} accept`,
  `ct state established,related ${protocol(family)} daddr @${podSet(family)} accept`,
];

const bridgeBase = [
  `add table ${bridgeFirewallTable}`,
  `add set ${bridgeFirewallTable} isolated { type ifname ; }`,
  `add chain ${bridgeFirewallTable} forward { type filter hook forward priority filter ; policy accept ; }`,
  `flush chain ${bridgeFirewallTable} forward`,
  `add rule ${bridgeFirewallTable} forward iifname @isolated drop`,
  `add rule ${bridgeFirewallTable} forward oifname @isolated drop`,
];

/** The tables that a policy needs; repeating it changes nothing. */
export function firewallBase(policy: IngressPolicy): string {
  const rules = [
    'iifname . oifname @isolated drop',
    'iifname . oifname @same accept',
    'iifname @apart oifname @apart drop',
    ...families.flatMap(acceptPods),
  ];
  const lines = [
    `add table ${firewallTable}`,
    ...families.map((f) => `add set ${firewallTable} ${podSet(f)} { type ipv${f}_addr ; }`),
    `add set ${firewallTable} apart { type ifname ; }`,
    ...['same', 'isolated'].map((set) => `add set ${firewallTable} ${set} { type ifname . ifname ; }`),
    `add chain ${firewallTable} forward { type filter hook forward priority filter ; policy accept ; }`,
    `flush chain ${firewallTable} forward`,
    ...rules.map((rule) => `add rule ${firewallTable} forward ${rule}`),
    ...(policy === 'isolated' ? bridgeBase : []),
  ];
  return `${lines.join('\n')}\n`;
}

/**
 * Forwarding of attachments (`firewall`), as nft text.
 *
 * One set per family holds the pods' addresses: what they send is accepted, and what belongs to their connections. An element
 * carries its attachment's label as comment. `ingressPolicy` is the bridge's: bridges that are kept apart stand in one set and
 * nothing is forwarded between two of them; an isolated one forwards nothing between its own ports either, neither by routing
 * nor as a bridge, for which a table of the bridge family sees the frames.
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
}

export const podSet = (family: Family): string => `pods${family}`;

const protocol = (family: Family): string => (family === 4 ? 'ip' : 'ip6');

export const addressKey = (a: Address): { set: string; key: string } => ({
  set: podSet(a.family),
  key: formatAddress(a),
});

/** An address's element, which must be new, and the bridge's, which pods share. */
export function createFirewall({ addresses, policy, bridge }: Firewall, label: string): string {
  const lines = addresses
    .map(addressKey)
    .map(({ set, key }) => `create element ${firewallTable} ${set} { ${key} comment "${label}" }`);
  return `${[...lines, ...bridgeElements(policy, bridge)].map((line) => `${line}\n`).join('')}`;
}

function bridgeElements(policy: IngressPolicy, bridge: string): string[] {
  if (policy === 'open') return [];
  const apart = [
    `add element ${firewallTable} apart { "${bridge}" comment "culvert" }`,
    `add element ${firewallTable} same { "${bridge}" . "${bridge}" comment "culvert" }`,
  ];
  if (policy === 'same-bridge') return apart;
  return [
    ...apart,
    `add element ${firewallTable} isolated { "${bridge}" . "${bridge}" comment "culvert" }`,
    `add element ${bridgeFirewallTable} isolated { "${bridge}" comment "culvert" }`,
  ];
}

/** The sets of both tables that a policy has its bridge in. */
export function bridgeKeys({ policy, bridge }: Firewall): { set: string; key: string }[] {
  if (policy === 'open') return [];
  const pair = `"${bridge}" . "${bridge}"`;
  return [
    { set: 'apart', key: `"${bridge}"` },
    { set: 'same', key: pair },
    ...(policy === 'isolated' ? [{ set: 'isolated', key: pair }] : []),
  ];
}

const acceptPods = (family: Family): string[] => [
  `${protocol(family)} saddr @${podSet(family)} accept`,
  `ct state established,related ${protocol(family)} daddr @${podSet(family)} accept`,
];

/** Both tables; repeating it changes nothing. */
export function firewallBase(): string {
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
    `add table ${bridgeFirewallTable}`,
    `add set ${bridgeFirewallTable} isolated { type ifname ; }`,
    `add chain ${bridgeFirewallTable} forward { type filter hook forward priority filter ; policy accept ; }`,
    `flush chain ${bridgeFirewallTable} forward`,
    `add rule ${bridgeFirewallTable} forward meta protocol { ip, ip6 } meta ibrname @isolated drop`,
  ];
  return `${lines.join('\n')}\n`;
}

/**
 * Masquerade of single attachments (`ipMasq`), as nft text.
 *
 * One verdict map per family holds the pods' addresses; each sends its packets to a chain of its network's prefix, shared by
 * all pods of that prefix, which lets traffic inside the prefix and multicast pass and masquerades the rest:
 *
 *   pod 10.22.0.5 → ip saddr vmap @pods4 → jump to-10.22.0.0-16 → ip daddr 10.22.0.0/16 return → masquerade
 *
 * So a pod costs one element, added and deleted in constant time. An element carries its attachment's label as comment: an
 * address may have a new owner by the time a late DEL arrives, and then the element is not the DEL's to delete.
 */

import { type Address, type Family, families, formatAddress } from '../net/address.ts';
import { formatPrefix, networkOf, type Prefix } from '../net/prefix.ts';

export const masqueradeTable = 'inet culvert_masquerade';

export const mapOf = (family: Family): string => `pods${family}`;

const protocol = (family: Family): string => (family === 4 ? 'ip' : 'ip6');
const multicast: Record<Family, string> = { 4: '224.0.0.0/4', 6: 'ff00::/8' };

/** The chain of a prefix: its text with what cannot stand in a name replaced; no two prefixes share one. */
const chainOf = (network: Prefix): string => `to-${formatPrefix(network).replaceAll(/[:/]/g, '-')}`;

/** An address's element in its family's map, with the label as comment. */
const element = (prefix: Prefix, label: string): string =>
  `element ${masqueradeTable} ${mapOf(prefix.address.family)} { ${formatAddress(prefix.address)} comment "${label}" : jump ${chainOf(networkOf(prefix))} }`;

/**
 * Elements that have the addresses' traffic to the world outside their prefix masqueraded. `create` fails where one is there
 * already: its comment would stay another's.
 */
export const createMasquerade = (addresses: readonly Prefix[], label: string): string =>
  addresses.map((prefix) => `create ${element(prefix, label)}\n`).join('');

/** Table, maps and chains for those addresses; repeating it changes nothing. */
export function masqueradeBase(addresses: readonly Prefix[]): string {
  const networks = new Map(addresses.map((p) => [chainOf(networkOf(p)), networkOf(p)]));
  const lines = [`add table ${masqueradeTable}`];
  for (const family of families) {
    lines.push(`add map ${masqueradeTable} ${mapOf(family)} { type ipv${family}_addr : verdict ; }`);
  }
  for (const [chain, network] of networks) {
    const family = network.address.family;
    lines.push(
      `add chain ${masqueradeTable} ${chain}`,
      `flush chain ${masqueradeTable} ${chain}`,
      `add rule ${masqueradeTable} ${chain} ${protocol(family)} daddr { ${formatPrefix(network)}, ${multicast[family]} } return`,
      `add rule ${masqueradeTable} ${chain} masquerade fully-random`,
    );
  }
  lines.push(
    `add chain ${masqueradeTable} postrouting { type nat hook postrouting priority srcnat ; policy accept ; }`,
    `flush chain ${masqueradeTable} postrouting`,
  );
  for (const family of families) {
    lines.push(`add rule ${masqueradeTable} postrouting ${protocol(family)} saddr vmap @${mapOf(family)}`);
  }
  return `${lines.join('\n')}\n`;
}

export const deleteMasquerade = (addresses: readonly Address[]): string =>
  addresses.map((a) => `delete element ${masqueradeTable} ${mapOf(a.family)} { ${formatAddress(a)} }\n`).join('');

/** Chains of prefixes that no address is sent to any more. */
export const deleteChains = (chains: readonly string[]): string =>
  chains.map((chain) => `delete chain ${masqueradeTable} ${chain}\n`).join('');

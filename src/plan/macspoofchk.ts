/**
 * bridge's `macspoofchk`, as nft text: frames that enter a guarded port with another source address than the pod's are dropped.
 * Two sets for all pods, one element in each per pod; nothing is matched against the rest of the host's ports.
 */

export const spoofTable = 'bridge culvert_macspoofchk';

export interface GuardedPort {
  /** The host's end of the pair. */
  port: string;
  mac: string;
  label: string;
}

export function guardPort({ port, mac, label }: GuardedPort): string {
  return [
    `add table ${spoofTable}`,
    `add set ${spoofTable} guarded { type ifname ; }`,
    `add set ${spoofTable} allowed { type ifname . ether_addr ; }`,
    `add chain ${spoofTable} prerouting { type filter hook prerouting priority -300 ; policy accept ; }`,
    `flush chain ${spoofTable} prerouting`,
    `add rule ${spoofTable} prerouting iifname . ether saddr @allowed accept`,
    `add rule ${spoofTable} prerouting iifname @guarded drop`,
    `add element ${spoofTable} guarded { "${port}" comment "${label}" }`,
    `add element ${spoofTable} allowed { "${port}" . ${mac} comment "${label}" }`,
    '',
  ].join('\n');
}

/** The MAC is not known any more when the pod is gone, so the port's elements of the second set are named by the caller. */
export const releasePort = (port: string, macs: readonly string[]): string =>
  [
    `delete element ${spoofTable} guarded { "${port}" }`,
    ...macs.map((mac) => `delete element ${spoofTable} allowed { "${port}" . ${mac} }`),
    '',
  ].join('\n');

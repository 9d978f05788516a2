/** What has to be let through for a mode to work, and what to do when it is not: clouds drop much of it without a word. */

import { type Family, familyOf } from '../net/address.ts';
import type { Mode } from './cluster.ts';
import type { NodeSettings } from './settings.ts';

type Ports = Pick<NodeSettings, 'vxlan' | 'wireguard'>;

/** The packets that a mode puts on the wire, in the words of a firewall. */
function packetsOf(mode: Mode, { vxlan, wireguard }: Ports, outer: readonly Family[]): string {
  switch (mode) {
    case 'vxlan':
      return `UDP port ${vxlan.port}`;
    case 'wireguard':
      return `UDP port ${wireguard.port}`;
    case 'ipip':
      return outer.includes(6) ? 'IP protocols 4 (IPv4) and 41 (IPv6), which are neither TCP nor UDP' : 'IP protocol 4';
    case 'bgp':
      return 'TCP port 179';
    case 'routed':
      return "packets with pods' own addresses";
    default:
      return mode satisfies never;
  }
}

/** What to do about a mode whose packets do not get from here to there and back. */
export function adviceOn(mode: Mode, ports: Ports, from: readonly string[], to: readonly string[]): string {
  const outer = to.map(familyOf);
  const remedy =
    mode === 'routed'
      ? "switch off the network's check of source and destination addresses for these hosts, or let the podCIDRs pass"
      : 'open it in the firewall or security group of both, in both directions';
  const packets = packetsOf(mode, ports, outer);
  const verb = mode === 'routed' ? 'do' : 'does';
  return `${packets} between ${from.join(', ')} and ${to.join(', ')} ${verb} not arrive, or the answer does not: ${remedy}`;
}

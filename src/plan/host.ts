/**
 * What one network namespace should hold, or was found to hold: the one form of state that planners make, `apply/read.ts`
 * reads, `diff.ts` compares and `render.ts` prints. Addresses and prefixes stand in the kernel's own spelling.
 * A field left out means "no opinion": the diff leaves it as it is.
 */

/** How a link is made; a change in here means making it anew. */
export type LinkKind =
  | { kind: 'bridge'; vlanFiltering?: boolean }
  | { kind: 'veth'; peer?: VethPeer }
  | { kind: 'ifb' }
  | { kind: 'vxlan'; id: number; port: number; local: string; device?: string }
  /** IPv4 in IPv4 from `local` to whomever a route names. */
  | { kind: 'ipip'; local: string }
  /** Either family in IPv6; `external`: where to, every route says by itself. */
  | { kind: 'ip6tnl'; external: boolean }
  | { kind: 'wireguard' }
  | ({ kind: 'macvlan'; mode: string; bcqueuelen?: number } & OnLink)
  | ({ kind: 'ipvlan'; mode: string } & OnLink)
  | ({ kind: 'vlan'; id: number } & OnLink)
  | { kind: 'dummy' }
  | { kind: 'vrf'; table: number }
  /** A link that somebody else makes and only some attributes of which are ours to set (eth0 in a pod, lo). */
  | { kind: 'given' };

/** A new link that sits on another one; the two may lie in different namespaces. */
export interface OnLink {
  /** The name of the link below. */
  link: string;
  /** Path of the namespace that the new link is put into; absent: the same one. */
  netns?: string;
}

/** The other end of a new veth pair, put straight into its namespace. */
export interface VethPeer {
  name: string;
  /** Path of the namespace; absent: the same one. */
  netns?: string;
  address?: string;
  mtu?: number;
}

export interface LinkState {
  name: string;
  make: LinkKind;
  address?: string;
  mtu?: number;
  /** ifalias: our mark of ownership. */
  alias?: string;
  /** The bridge or VRF that it belongs to; empty: none. */
  master?: string;
  promisc?: boolean;
  /** How link-local IPv6 addresses come about; to be set before the link is up. */
  addrGenMode?: 'none' | 'eui64' | 'stable_secret' | 'random';
  up?: boolean;
  /** Attributes of a bridge's port. */
  hairpin?: boolean;
  isolated?: boolean;
  /** Checksums of what is sent are left to devices below (ethtool's tx-checksum-ip-generic). Read only where a plan asks. */
  txChecksum?: boolean;
}

export interface AddressState {
  dev: string;
  /** "10.1.0.1/16" */
  address: string;
}

/** A route; its key is (prefix, table, metric). */
export interface RouteState {
  prefix: string;
  dev?: string;
  via?: string;
  /** The IPv6 address that an `external` link of kind ip6tnl wraps towards (a lightweight tunnel). */
  encapDst?: string;
  src?: string;
  /** Our number (ownership) or the kernel's name for another; absent: `boot`, as with the reference plugins. */
  protocol?: string;
  scope?: string;
  metric?: number;
  table?: number;
  mtuBytes?: number;
  advmssBytes?: number;
  /** The next hop is on the link though no prefix of the link says so. */
  onlink?: boolean;
}

/** A rule that packets from an address look into a table; its key is all of it. */
export interface RuleState {
  /** A prefix of one address: "10.1.0.2/32". */
  from: string;
  table: number;
}

/** A permanent neighbour entry; its key is (dev, address). */
export interface NeighbourState {
  dev: string;
  address: string;
  mac: string;
}

/** A forwarding entry of a VXLAN link: frames to `mac` go to the VTEP at `dst`. */
export interface FdbState {
  dev: string;
  mac: string;
  dst: string;
}

/** What makes a WireGuard link one end of tunnels. Its private key is known by file only. */
export interface WireGuardState {
  dev: string;
  listenPort: number;
  publicKey: string;
  /** What was read from the kernel has none. */
  privateKeyFile?: string;
}

/** A WireGuard peer; its key is (dev, publicKey). */
export interface PeerState {
  dev: string;
  publicKey: string;
  /** "192.168.1.12:51820", "[fd01::12]:51820" */
  endpoint: string;
  /** Sorted, with commas between. */
  allowedIps: string;
  /** 0: off. */
  keepaliveSeconds: number;
  /** A mark made from the preshared key, never the key; empty: none. */
  preshared: string;
  presharedKeyFile?: string;
}

/** A VLAN on a bridge port. */
export interface VlanState {
  dev: string;
  vid: number;
  pvid?: boolean;
  untagged?: boolean;
}

export interface SysctlState {
  /** Path below /proc/sys: "net/ipv4/ip_forward". */
  key: string;
  value: string;
  /** Absent on some kernels (IPv6 off, say): then it is not missed. */
  optional?: boolean;
}

/** An nft table of ours as nft prints it (`nft list table`), white space aside. */
export interface TableState {
  family: 'inet' | 'ip' | 'ip6' | 'bridge';
  name: string;
  text: string;
}

export interface NamespaceState {
  links: LinkState[];
  addresses: AddressState[];
  routes: RouteState[];
  rules: RuleState[];
  neighbours: NeighbourState[];
  fdb: FdbState[];
  wireguards: WireGuardState[];
  peers: PeerState[];
  vlans: VlanState[];
  sysctls: SysctlState[];
  tables: TableState[];
}

export const emptyState = (): NamespaceState => ({
  links: [],
  addresses: [],
  routes: [],
  rules: [],
  neighbours: [],
  fdb: [],
  wireguards: [],
  peers: [],
  vlans: [],
  sysctls: [],
  tables: [],
});

/** The union of several shares of one namespace. */
export function mergeStates(...parts: Partial<NamespaceState>[]): NamespaceState {
  const out = emptyState();
  for (const part of parts) {
    for (const key of Object.keys(part) as (keyof NamespaceState)[]) {
      Object.assign(out, { [key]: (out[key] as unknown[]).concat(part[key]) });
    }
  }
  return out;
}

/** The protocol number that marks our routes (`ip route … proto 67`); unassigned in iproute2's rt_protos. */
export const routeProtocol = '67';

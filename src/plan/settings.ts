/** What a person decides about the paths to other nodes. */

/** How pod traffic reaches another node. */
export const modes = ['vxlan', 'ipip', 'wireguard', 'routed'] as const;
export type Mode = (typeof modes)[number];

/** Modes that wrap pods' packets. */
export type OverlayMode = Exclude<Mode, 'routed'>;

/** What to do about a node behind a router: nothing (and say so), or hand its packets to the router. */
export type BehindRouter = 'refuse' | 'gateway';

export interface VxlanSettings {
  readonly id: number;
  readonly port: number;
}

/** This node's keys: the public one, and where the secret ones lie. */
export interface WireGuardKeys {
  readonly publicKey: string;
  readonly privateKeyFile: string;
  /** The preshared key's file, and a mark by which the kernel's copy is known again without keeping the key. */
  readonly preshared?: { readonly file: string; readonly mark: string };
}

export interface WireGuardSettings {
  readonly port: number;
  readonly keepaliveSeconds: number;
  /** None before they were made. */
  readonly keys?: WireGuardKeys | undefined;
}

export interface NodeSettings {
  readonly node: string;
  readonly mode: Mode;
  /** The mode between nodes of different sites; absent: the same as within one. */
  readonly betweenSites?: Mode | undefined;
  readonly sameSubnet: 'tunnel' | 'direct';
  readonly behindRouter: BehindRouter;
  readonly mtu: number | 'auto';
  readonly masquerade: boolean;
  readonly vxlan: VxlanSettings;
  readonly wireguard: WireGuardSettings;
}

/** All modes that a node with these settings uses. */
export const modesOf = ({ mode, betweenSites }: Pick<NodeSettings, 'mode' | 'betweenSites'>): Mode[] => [
  ...new Set([mode, betweenSites ?? mode]),
];

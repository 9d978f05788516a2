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

/** Which way pods' packets take: what a change of mode changes. */
export interface Traffic {
  readonly mode: Mode;
  /** The mode between nodes of different sites; absent: the same as within one. */
  readonly betweenSites?: Mode | undefined;
  readonly sameSubnet: 'tunnel' | 'direct';
}

/** What a cluster decides for all of its nodes. Two traffics at once are a change on its way (change.ts). */
export interface ClusterTraffic extends Traffic {
  /** No packet is sent this way, but whoever does is understood. */
  readonly alsoAccept?: Traffic | undefined;
}

export interface NodeSettings extends ClusterTraffic {
  readonly node: string;
  readonly behindRouter: BehindRouter;
  readonly mtu: number | 'auto';
  readonly masquerade: boolean;
  readonly vxlan: VxlanSettings;
  readonly wireguard: WireGuardSettings;
}

/** All modes that a node with these settings uses, those that carry first. */
export const modesOf = (settings: Pick<ClusterTraffic, 'mode' | 'betweenSites' | 'alsoAccept'>): Mode[] => [
  ...new Set(
    [settings, ...(settings.alsoAccept ? [settings.alsoAccept] : [])].flatMap((t) => [
      t.mode,
      t.betweenSites ?? t.mode,
    ]),
  ),
];

/** What a person decides about the paths to other nodes. */

import type { ClusterTraffic, Mode } from './cluster.ts';

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

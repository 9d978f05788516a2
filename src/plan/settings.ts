/** What a person decides about the paths to other nodes. */

import type { ClusterTraffic, Mode, Traffic, WayMode } from './cluster.ts';

/** Modes that wrap pods' packets. */
export type OverlayMode = Exclude<Mode, 'routed' | 'bgp'>;

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

/** What is taken from a router: nothing, its default route, all it has, or what lies in these prefixes; never a podCIDR as such. */
export type BgpImport = 'default' | 'all' | 'none' | readonly string[];

/** A BGP router that is no node. */
export interface BgpPeerSettings {
  readonly address: string;
  readonly as: number;
  readonly passwordFile?: string | undefined;
  readonly bfd: boolean;
  /** How many hops away it may be; absent: on a link of ours. */
  readonly multihop?: number | undefined;
  /** Only nodes of this site talk to it. */
  readonly site?: string | undefined;
  readonly import: BgpImport;
}

export interface BgpSettings {
  /** Of every node that has none of its own in the cluster view. */
  readonly as: number;
  /** For the sessions between nodes. */
  readonly passwordFile?: string | undefined;
  readonly bfd: boolean;
  /** How long neighbours keep the routes of a speaker that went away without a word; 0: not at all. */
  readonly gracefulRestartSeconds: number;
  readonly peers: readonly BgpPeerSettings[];
}

/** What `auto` may choose, and what it has chosen so far. */
export interface AutoSettings {
  /** In the order in which they are preferred. */
  readonly candidates: readonly WayMode[];
  /** What carries, by the node's name; a node that is not in here has not been heard of yet. */
  readonly chosen?: ReadonlyMap<string, WayMode> | undefined;
}

export interface NodeSettings extends ClusterTraffic {
  readonly node: string;
  readonly behindRouter: BehindRouter;
  readonly mtu: number | 'auto';
  readonly masquerade: boolean;
  /** Take packets of established connections past the forward chains; auto: where the kernel can. */
  readonly flowtable: boolean | 'auto';
  readonly vxlan: VxlanSettings;
  readonly wireguard: WireGuardSettings;
  readonly bgp: BgpSettings;
  readonly auto: AutoSettings;
}

/** Whether a node with these settings looks for the way itself, or is about to. */
export const isAuto = ({ mode, alsoAccept }: Pick<ClusterTraffic, 'mode' | 'alsoAccept'>): boolean =>
  mode === 'auto' || alsoAccept?.mode === 'auto';

/** All modes that a node with these settings uses, those that carry first. */
export function modesOf(settings: ModeSettings): Mode[] {
  const candidates = settings.auto?.candidates ?? [];
  const of = ({ mode, betweenSites }: Pick<Traffic, 'mode' | 'betweenSites'>): Mode[] => [
    ...(mode === 'auto' ? candidates : [mode]),
    ...(betweenSites ? [betweenSites] : []),
  ];
  return [...new Set([...of(settings), ...(settings.alsoAccept ? of(settings.alsoAccept) : [])])];
}

type ModeSettings = Pick<ClusterTraffic, 'mode' | 'betweenSites' | 'alsoAccept'> & { readonly auto?: AutoSettings };

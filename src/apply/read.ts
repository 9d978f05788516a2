/** The kernel → state: iproute2's and bridge's JSON in the words of `plan/host.ts`. Pure mapping; callers say what to show. */

import { isObject, type JsonObject } from '../decode.ts';
import type {
  AddressState,
  FdbState,
  LinkKind,
  LinkState,
  NeighbourState,
  PeerState,
  RouteState,
  RuleState,
  VlanState,
  WireGuardState,
} from '../plan/host.ts';
import { txChecksumFeature } from '../plan/render.ts';

const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
const number = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);
const object = (value: unknown): JsonObject => (isObject(value) ? value : {});
const list = (value: unknown): JsonObject[] => (Array.isArray(value) ? value.filter(isObject) : []);

/** Leaves out what is undefined: state has no such fields. */
function set<T extends object>(fields: { [K in keyof T]: T[K] | undefined }): T {
  const out = {} as T;
  for (const key in fields) if (fields[key] !== undefined) out[key] = fields[key];
  return out;
}

function kindOf(info: JsonObject, below: string): LinkKind {
  const data = object(info['info_data']);
  switch (info['info_kind']) {
    case 'bridge':
      return { kind: 'bridge', vlanFiltering: data['vlan_filtering'] === 1 };
    case 'veth':
    case 'ifb':
      return { kind: info['info_kind'] };
    case 'vxlan':
      return set<Extract<LinkKind, { kind: 'vxlan' }>>({
        kind: 'vxlan',
        id: number(data['id']) ?? -1,
        port: number(data['port']) ?? -1,
        local: text(data['local']) ?? text(data['local6']) ?? '',
        device: text(data['link']),
      });
    case 'ipip':
      return { kind: 'ipip', local: text(data['local']) ?? '' };
    case 'ip6tnl':
      return { kind: 'ip6tnl', external: data['external'] === true };
    case 'wireguard':
      return { kind: 'wireguard' };
    case 'macvlan':
      return set<Extract<LinkKind, { kind: 'macvlan' }>>({
        kind: 'macvlan',
        link: below,
        mode: text(data['mode']) ?? '',
        bcqueuelen: number(data['bcqueuelen']),
      });
    case 'ipvlan':
      return { kind: 'ipvlan', link: below, mode: text(data['mode']) ?? '' };
    case 'vlan':
      return { kind: 'vlan', link: below, id: number(data['id']) ?? -1 };
    case 'vrf':
      return { kind: 'vrf', table: number(data['table']) ?? -1 };
    case 'dummy':
      return { kind: 'dummy' };
    default:
      return { kind: 'given' };
  }
}

/** A link as found: with what only reading can tell. */
export interface FoundLink extends LinkState {
  index: number;
  /** The veth's other end, or the link below, by index in its own namespace. */
  peerIndex?: number;
  flags: string[];
  /** "default" for 0. */
  group?: string;
  txQueueLength?: number;
  /** What `ip -d` calls the link: "veth", "bridge", "vxlan", "dummy"; empty for hardware. */
  kindName: string;
}

/** Links of `ip -d -j link show` or `ip -d -j addr show`. */
export function linksOf(shown: readonly unknown[]): FoundLink[] {
  return list(shown).map((l) => {
    const info = object(l['linkinfo']);
    const slave = object(info['info_slave_data']);
    const flags = (Array.isArray(l['flags']) ? l['flags'] : []).map(String);
    return set<FoundLink>({
      name: text(l['ifname']) ?? '',
      make: kindOf(info, text(l['link']) ?? ''),
      address: text(l['address']),
      mtu: number(l['mtu']),
      alias: text(l['ifalias']),
      master: text(l['master']),
      promisc: (number(l['promiscuity']) ?? 0) > 0,
      addrGenMode: text(l['inet6_addr_gen_mode']) as LinkState['addrGenMode'],
      up: flags.includes('UP'),
      hairpin: typeof slave['hairpin'] === 'boolean' ? slave['hairpin'] : undefined,
      isolated: typeof slave['isolated'] === 'boolean' ? slave['isolated'] : undefined,
      index: number(l['ifindex']) ?? -1,
      peerIndex: number(l['link_index']),
      flags,
      group: text(l['group']),
      txQueueLength: number(l['txqlen']),
      kindName: text(info['info_kind']) ?? '',
    });
  });
}

export interface FoundAddress extends AddressState {
  scope: string;
}

/** Addresses of `ip -j addr show`. */
export function addressesOf(shown: readonly unknown[]): FoundAddress[] {
  return list(shown).flatMap((l) =>
    list(l['addr_info']).map((a) => ({
      dev: text(l['ifname']) ?? '',
      address: `${a['local']}/${a['prefixlen']}`,
      scope: text(a['scope']) ?? '',
    })),
  );
}

const scopeless = new Set([undefined, 'global']);

/** A destination as a prefix: ip prints "default" and leaves /32 and /128 off. */
function prefixOf(dst: string, isIpv6: boolean): string {
  if (dst === 'default') return isIpv6 ? '::/0' : '0.0.0.0/0';
  if (dst.includes('/')) return dst;
  return dst.includes(':') ? `${dst}/128` : `${dst}/32`;
}

/**
 * Routes of `ip -d -j route show`. The family of a "default" shows in its gateway, source or (IPv6 only) `pref`;
 * ip 6.1 prints table and metric only when they are not the usual ones: 254 (main), 0 (IPv4) and 1024 (IPv6).
 */
export function routesOf(shown: readonly unknown[]): RouteState[] {
  return list(shown)
    .filter((r) => (r['type'] ?? 'unicast') === 'unicast')
    .map((r) => {
      const metrics = object(list(r['metrics'])[0]);
      const gateway = text(r['gateway']) ?? text(object(r['via'])['host']);
      const isIpv6 = `${r['dst']}${gateway ?? ''}`.includes(':') || r['pref'] !== undefined;
      const metric = number(r['metric']);
      const table = text(r['table']);
      const scope = text(r['scope']);
      const flags = Array.isArray(r['flags']) ? r['flags'] : [];
      return set<RouteState>({
        prefix: prefixOf(text(r['dst']) ?? '', isIpv6),
        dev: text(r['dev']),
        via: gateway,
        encapDst: text(r['encap_dst']),
        src: text(r['prefsrc']),
        protocol: text(r['protocol']),
        scope: scopeless.has(scope) ? undefined : scope,
        metric: metric === undefined || metric === 0 || (isIpv6 && metric === 1024) ? undefined : metric,
        table: table === undefined || table === 'main' ? undefined : Number(table),
        mtuBytes: number(metrics['mtu']),
        advmssBytes: number(metrics['advmss']),
        onlink: flags.includes('onlink') ? true : undefined,
      });
    });
}

/** Rules of `ip -j rule show` that are about a source address and nothing else. */
export function rulesOf(shown: readonly unknown[]): RuleState[] {
  return list(shown).flatMap((r) => {
    const src = text(r['src']) ?? 'all';
    const table = number(r['table']) ?? Number(text(r['table']));
    if (src === 'all' || !Number.isInteger(table)) return [];
    const length = number(r['srclen']) ?? (src.includes(':') ? 128 : 32);
    return [{ from: `${src}/${length}`, table }];
  });
}

/** Permanent entries of `ip -j neigh show`. */
export function neighboursOf(shown: readonly unknown[]): NeighbourState[] {
  return list(shown)
    .filter((n) => Array.isArray(n['state']) && n['state'].includes('PERMANENT') && n['lladdr'] !== undefined)
    .map((n) => ({ dev: text(n['dev']) ?? '', address: text(n['dst']) ?? '', mac: text(n['lladdr']) ?? '' }));
}

/** Entries with a remote VTEP of `bridge -j fdb show`. */
export function fdbOf(shown: readonly unknown[]): FdbState[] {
  return list(shown)
    .filter((f) => f['dst'] !== undefined)
    .map((f) => ({ dev: text(f['ifname']) ?? '', mac: text(f['mac']) ?? '', dst: text(f['dst']) ?? '' }));
}

/** `wg show DEVICE dump`; `markOf` makes a mark of each preshared key, and no other trace of a secret is kept. */
export function wireguardOf(
  dev: string,
  dump: string,
  markOf: (key: string) => string,
): { wireguards: WireGuardState[]; peers: PeerState[] } {
  const [own = [], ...peers] = dump
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t'));
  const orEmpty = (field = ''): string => (field === '(none)' ? '' : field);
  return {
    wireguards: [{ dev, publicKey: orEmpty(own[1]), listenPort: Number(own[2]) }],
    peers: peers.map(([publicKey = '', preshared, endpoint, allowedIps, , , , keepalive]) => ({
      dev,
      publicKey,
      endpoint: orEmpty(endpoint),
      allowedIps: orEmpty(allowedIps).split(',').sort().join(','),
      keepaliveSeconds: keepalive === 'off' ? 0 : Number(keepalive),
      preshared: orEmpty(preshared) && markOf(orEmpty(preshared)),
    })),
  };
}

/** Whether a device leaves checksums of what is sent to those below, of `ethtool -k DEVICE`; undefined: it has no such feature. */
export function txChecksumOf(shown: string): boolean | undefined {
  const state = new RegExp(`^\\s*${txChecksumFeature}: (on|off)`, 'm').exec(shown)?.[1];
  return state === undefined ? undefined : state === 'on';
}

/** VLANs of `bridge -j vlan show`. */
export function vlansOf(shown: readonly unknown[]): VlanState[] {
  return list(shown).flatMap((port) =>
    list(port['vlans']).flatMap((v) => {
      const first = number(v['vlan']) ?? 0;
      const last = number(v['vlanEnd']) ?? first;
      const flags = Array.isArray(v['flags']) ? v['flags'] : [];
      return Array.from({ length: last - first + 1 }, (_, i) => ({
        dev: text(port['ifname']) ?? '',
        vid: first + i,
        pvid: flags.includes('PVID'),
        untagged: flags.includes('Egress Untagged'),
      }));
    }),
  );
}

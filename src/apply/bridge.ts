/** The pods' bridge in the kernel: made when it is missing, given its gateway addresses, left alone when all is well. */

import { closeSync, openSync, readSync } from 'node:fs';
import { CommandError, ConfigError } from '../errors.ts';
import { runningLink } from '../kernel/ifaddrs.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { macFrom } from '../net/mac.ts';
import { hash } from '../net/name.ts';
import { formatPrefix, type Prefix, parsePrefix } from '../net/prefix.ts';
import { type PortVlans, planPortVlans } from '../plan/attachment.ts';
import { type BridgeShare, conflictingAddresses, listOf, planBridge } from '../plan/bridge.ts';
import { type Change, diff } from '../plan/diff.ts';
import { emptyState, type LinkState, mergeStates, type NamespaceState } from '../plan/host.ts';
import { apply } from './apply.ts';
import { readLink } from './check.ts';

export interface BridgeNeed extends Omit<BridgeShare, 'mac'> {
  /** Replace addresses that stand in a gateway's way instead of failing. */
  forceAddress: boolean;
}

/** A bridge and what it lacks; the caller applies the changes together with its own. */
export interface BridgeWork {
  mac: string;
  changes: Change[];
}

/**
 * What the bridge lacks. In the usual case, a bridge that runs and has the gateways' addresses, getifaddrs tells that it lacks
 * nothing and no program is started; what it cannot tell (promiscuity, filtering, a bridge at rest) is read.
 * Throws ConfigError when the name is another kind of link's or another address stands in the way.
 */
export async function bridgeWork(kernel: Kernel, need: BridgeNeed): Promise<BridgeWork> {
  const running = need.promisc || need.vlanFiltering ? undefined : runningLink(need.name);
  if (running && need.gateways.every((g) => running.addresses.includes(formatPrefix(g)))) {
    return { mac: running.mac, changes: [] };
  }
  const found = await readLink(kernel, need.name);
  const link = found?.links[0];
  if (link && link.kindName !== 'bridge') {
    const got = `"${need.name}", which already exists but is not a bridge (${link.kindName || 'a hardware'} link)`;
    throw new ConfigError([{ path: 'bridge', got, want: 'a bridge or a free name' }]);
  }
  const wanted = mergeStates(planBridge({ ...need, mac: randomMac() }, link));
  return {
    mac: wanted.links[0]?.address ?? '',
    changes: gatewayChanges(found?.state ?? emptyState(), wanted, need),
  };
}

/**
 * Runs `work` with what the bridge lacks; again when another ADD makes the same bridge at the same moment.
 */
export async function withBridge<T>(
  kernel: Kernel,
  need: BridgeNeed,
  work: (bridge: BridgeWork) => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const bridge = await bridgeWork(kernel, need);
    try {
      return await work(bridge);
    } catch (error) {
      const raced = error instanceof CommandError && error.reason === 'exists' && bridge.changes.length > 0;
      if (!raced || attempt === 3) throw error;
    }
  }
}

/** A MAC address for a link that outlives its pods. */
function randomMac(): string {
  const seed = Buffer.alloc(16);
  const fd = openSync('/dev/urandom', 'r');
  readSync(fd, seed);
  closeSync(fd);
  return macFrom(seed.toString('hex'));
}

/** What a link with gateway addresses lacks. Addresses in the way go first (forceAddress) or are the error. */
function gatewayChanges(
  actual: NamespaceState,
  wanted: NamespaceState,
  need: { gateways: readonly Prefix[]; forceAddress: boolean },
): Change[] {
  const existing = actual.addresses.flatMap((a) => parsePrefix(a.address) ?? []);
  const inTheWay = conflictingAddresses(existing, need.gateways);
  const name = wanted.links[0]?.name ?? '';
  if (inTheWay.length > 0 && !need.forceAddress) {
    throw new ConfigError([
      {
        path: 'bridge',
        got: `"${name}", which already has an IP address different from ${listOf(need.gateways)}: ${listOf(inTheWay)}`,
        want: 'a bridge without it, or forceAddress to replace it',
      },
    ]);
  }
  const named = [...need.gateways, ...inTheWay].map(formatPrefix);
  const changes = diff({ ...actual, addresses: actual.addresses.filter((a) => named.includes(a.address)) }, wanted);
  const isRemoval = (c: Change) => c.op === 'delete-address';
  // an IPv4 address that leaves takes younger ones of its prefix along: removals first
  return [...changes.filter(isRemoval), ...pinMac(actual.links[0], changes), ...changes.filter((c) => !isRemoval(c))];
}

/** A bridge somebody else made takes its lowest port's MAC, unless its own is set once explicitly. */
function pinMac(link: LinkState | undefined, changes: readonly Change[]): Change[] {
  if (!link?.address || !changes.some((c) => c.op === 'add-address')) return [];
  return [{ op: 'set-link', name: link.name, set: { address: link.address }, was: undefined }];
}

export interface VlanGatewayNeed {
  bridge: string;
  mtu?: number | undefined;
  vlans: PortVlans;
  gateways: readonly Prefix[];
  forceAddress: boolean;
}

/** The name of the host's own port in a VLAN of a bridge. */
export const vlanGatewayName = (bridge: string, vlan: number): string => `${bridge}.${vlan}`;

/** A port enters a filtering bridge with VLAN 1, untagged. */
export const initialVlans = (dev: string) => [{ dev, vid: 1, pvid: true, untagged: true }];

/** With a VLAN the gateway's address sits on a port of its own in that VLAN. Answers the link that carries it. */
export async function ensureVlanGateway(kernel: Kernel, need: VlanGatewayNeed): Promise<{ name: string; mac: string }> {
  const name = vlanGatewayName(need.bridge, need.vlans.vlan);
  const found = await readLink(kernel, name);
  const port = `vg${hash(name, 8)}`;
  const mac = found?.links[0]?.address ?? randomMac();
  const mtu = need.mtu ? { mtu: need.mtu } : {};
  const gateway: LinkState = {
    name,
    make: { kind: 'veth', peer: { name: port, ...mtu } },
    address: mac,
    up: true,
    ...mtu,
  };
  const member: LinkState = { name: port, make: { kind: 'given' }, master: need.bridge, up: true };
  const wanted = mergeStates({
    links: found ? [gateway] : [gateway, member],
    addresses: need.gateways.map((g) => ({ dev: name, address: formatPrefix(g) })),
    vlans: found ? [] : planPortVlans(port, { ...need.vlans, trunk: [] }),
  });
  const actual = found?.state ?? { ...emptyState(), vlans: initialVlans(port) };
  await apply(gatewayChanges(actual, wanted, need), kernel);
  return { name, mac };
}

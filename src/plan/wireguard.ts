/**
 * WireGuard: pods' packets encrypted, in UDP between the nodes' addresses. One device for both families; a route sends a podCIDR
 * to `culvert-wg`, which knows by the peers' allowed IPs whose it is, and lets in from a peer only what comes from them.
 * That is why the device carries the first address of our podCIDR: a node that talks to pods must do it from there. Nothing but
 * pods' addresses is led into the tunnel, so its own packets to the nodes' addresses never are. A peer is known by its public key:
 * a node that comes back with a new one becomes a new peer, which takes the allowed IPs over before the old one goes.
 */

import { type Family, families } from '../net/address.ts';
import { addressOf, type ClusterNode, PlanError } from './cluster.ts';
import { mergeStates, type PeerState, routeProtocol } from './host.ts';
import {
  devices,
  nameInTheWay,
  type Overlay,
  type OverlayContext,
  type ProbeOf,
  planDevice,
  podFamiliesOf,
  prefixesOf,
  type Tunnel,
} from './overlay.ts';
import type { WireGuardKeys, WireGuardSettings } from './settings.ts';

/** Outer IP 20 or 40, UDP 8, WireGuard's header and authentication tag 32. */
const overheadBytes: Readonly<Record<Family, number>> = { 4: 60, 6: 80 };

const endpoint = (node: ClusterNode, family: Family, port: number): string => {
  const { text } = addressOf(node, family)!;
  return family === 6 ? `[${text}]:${port}` : `${text}:${port}`;
};

const outerFamily = (...nodes: ClusterNode[]): Family | undefined =>
  families.find((f) => nodes.every((n) => addressOf(n, f)));

const refusal = (node: ClusterNode, text: string): Tunnel => ({
  routes: [],
  entries: {},
  wraps: [],
  problems: [{ node: node.name, text: `node "${node.name}" ${text}` }],
});

function planTunnel(
  own: ClusterNode,
  node: ClusterNode,
  pods: readonly Family[],
  { port, keepaliveSeconds, keys }: WireGuardSettings,
  probeOf?: ProbeOf,
): Tunnel {
  const outer = outerFamily(own, node);
  if (!outer) return refusal(node, 'shares no address family with this node; give both one in the cluster file');
  if (!node.publicKey) {
    return refusal(node, 'has no publicKey in the cluster file; run "culvert keys" there and add the line it prints');
  }
  const prefixes = pods.flatMap((family) => prefixesOf(node, family, probeOf));
  const { preshared } = keys!;
  const peer: PeerState = {
    dev: devices.wireguard,
    publicKey: node.publicKey,
    endpoint: endpoint(node, outer, port),
    allowedIps: prefixes.toSorted().join(','),
    keepaliveSeconds,
    preshared: preshared?.mark ?? '',
    ...(preshared && { presharedKeyFile: preshared.file }),
  };
  return {
    routes: prefixes.map((prefix) => ({ prefix, dev: devices.wireguard, protocol: routeProtocol })),
    entries: { peers: [peer] },
    wraps: [{ family: outer, overheadBytes: overheadBytes[outer] }],
    problems: [],
  };
}

/** The cluster must know us by the key that we have. */
function checkOwnKey(own: ClusterNode, keys: WireGuardKeys | undefined): asserts keys {
  if (!keys) throw new PlanError('this node has no WireGuard key yet; "culvert keys" makes one, and so does the agent');
  if (own.publicKey === keys.publicKey) return;
  const known = own.publicKey ? `has publicKey ${own.publicKey} in` : 'has no publicKey in';
  throw new PlanError(
    `node "${own.name}" ${known} the cluster file, but ${keys.privateKeyFile} holds the key to ${keys.publicKey}; write that one there: publicKey: "${keys.publicKey}"`,
  );
}

/** Throws PlanError when another's link is in the way, or when the cluster file does not have our key. */
export function planWireguard(context: OverlayContext): Overlay {
  const { own, facts, settings, probeOf } = context;
  const { wireguard } = settings;
  const { keys } = wireguard;
  const obstacle = nameInTheWay(facts, own, ['wireguard']);
  if (obstacle) throw new PlanError(obstacle);
  checkOwnKey(own, keys);
  const { publicKey, privateKeyFile } = keys;
  const device = { dev: devices.wireguard, listenPort: wireguard.port, publicKey, privateKeyFile };
  const family = outerFamily(own)!;
  const { port, keepaliveSeconds } = wireguard;
  return {
    key: ['wireguard', port, keepaliveSeconds, keys.preshared?.mark, keys.preshared?.file].join(' '),
    wraps: [{ family, overheadBytes: overheadBytes[family] }],
    // its answer would come from its own address, which is none of its allowed IPs
    answersPods: false,
    ground: (mtu) =>
      mergeStates(planDevice({ kind: 'wireguard' }, context, podFamiliesOf(own), { mtu }), { wireguards: [device] }),
    tunnel: (node, pods) => planTunnel(own, node, pods, wireguard, probeOf),
  };
}

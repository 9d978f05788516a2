/** What `bridge` plans for an attachment: IPAM's answer completed, and the shares of bridge, port and container. Pure. */

import type { BridgeNeed } from '../../src/apply/bridge.ts';
import { batchPath } from '../../src/apply/veth.ts';
import type { IpConfig, Request, Result, Route } from '../../src/cni/types.ts';
import { attachmentLabel, hostMac, hostVethName, podMac } from '../../src/net/name.ts';
import type { Prefix } from '../../src/net/prefix.ts';
import { type PortVlans, planPod, type VethPair, withDefaultRoutes } from '../../src/plan/attachment.ts';
import { firstAddress, gatewayPrefixes, gatewaysByFamily } from '../../src/plan/bridge.ts';
import type { LinkState, NamespaceState } from '../../src/plan/host.ts';
import { idOf } from '../attachment/veth.ts';
import type { BridgeConf } from './conf.ts';

/** What the container gets: IPAM's answer, completed by what the bridge adds to it. */
export interface Given {
  ips: IpConfig[];
  routes: Route[];
}

/** Gateways where the host is one, and a default route where it shall be the default. */
export function complete(conf: BridgeConf, { ips, routes }: Result): Given {
  const completed = ips.map(({ address, gateway }) => {
    const own = gateway ?? (conf.isGateway ? firstAddress(address) : undefined);
    return { address, interface: 2, ...(own ? { gateway: own } : {}) };
  });
  return {
    ips: completed,
    routes: conf.isDefaultGateway ? withDefaultRoutes(routes, gatewaysByFamily(completed)) : routes,
  };
}

export const gatewaysOf = (conf: BridgeConf, given: Given): Prefix[] =>
  conf.isGateway ? gatewayPrefixes(given.ips) : [];

export const portVlans = (conf: BridgeConf): PortVlans => ({
  vlan: conf.vlan,
  trunk: conf.trunk ?? [],
  preserveDefault: conf.preserveDefaultVlan,
});

export const bridgeNeed = (conf: BridgeConf, given: Given): BridgeNeed => ({
  name: conf.bridge,
  mtu: conf.mtu,
  promisc: conf.promiscMode,
  vlanFiltering: conf.vlan !== 0 || conf.trunk !== undefined,
  gateways: conf.vlan === 0 ? gatewaysOf(conf, given) : [],
  forceAddress: conf.forceAddress,
});

/** The container's share: its link up and, with IPAM, addresses and routes. */
export function podShare(request: Request, conf: BridgeConf, given: Given): Partial<NamespaceState> {
  const share = planPod({
    ifname: request.ifname,
    addresses: given.ips.map((ip) => ip.address),
    routes: given.routes,
    gateways: gatewaysByFamily(given.ips),
    duplicateAddressDetection: conf.enabledad,
  });
  return conf.ipamType ? share : { links: share.links ?? [] };
}

/** The attributes of the host's end as a port. */
export const portAttributes = (conf: BridgeConf): Partial<LinkState> => ({
  master: conf.bridge,
  ...(conf.hairpinMode ? { hairpin: true } : {}),
  ...(conf.portIsolation ? { isolated: true } : {}),
});

/** A veth pair of the attachment and the marks it carries; everything about it follows from who the attachment is. */
export function pairOf(request: Request, conf: BridgeConf): VethPair {
  const id = idOf(request);
  return {
    host: hostVethName(id),
    hostMac: hostMac(id),
    pod: request.ifname,
    podMac: conf.mac ?? podMac(id),
    netns: batchPath(request.netns),
    mtu: conf.mtu,
    label: attachmentLabel(id),
  };
}

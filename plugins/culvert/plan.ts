/** What an attachment by the plugin `culvert` should be, on the host and in the pod: from what the node is and what was leased. */

import type { IpConfig, Request, Route } from '../../src/cni/types.ts';
import type { Address } from '../../src/net/address.ts';
import { attachmentLabel, hostMac, hostVethName, podMac } from '../../src/net/name.ts';
import { contains, defaultPrefix, hostPrefix, type Prefix } from '../../src/net/prefix.ts';
import { planPod, planVeth } from '../../src/plan/attachment.ts';
import { planBandwidth, type ShapedLinks, type TcObject } from '../../src/plan/bandwidth.ts';
import { gatewaysByFamily } from '../../src/plan/bridge.ts';
import type { LinkState, NamespaceState } from '../../src/plan/host.ts';
import type { Portmap } from '../../src/plan/portmap.ts';
import { nextHop, planPtpHost, planPtpPod } from '../../src/plan/ptp.ts';
import { shapedLinks } from '../attachment/bandwidth.ts';
import { idOf } from '../attachment/veth.ts';
import { plainPortmap, portmapOf } from '../portmap/conf.ts';
import type { CulvertConf, Node } from './conf.ts';

/** Both ends' shares, and what goes on them when they are there. */
export interface Attachment {
  host: string;
  hostMac: string;
  podMac: string;
  addresses: readonly Prefix[];
  ips: IpConfig[];
  routes: Route[];
  /** The pair comes first, then the ifbs. */
  onHost: Partial<NamespaceState> & { links: LinkState[] };
  inPod: Partial<NamespaceState>;
  shaped: ShapedLinks;
  /** What shapes its traffic; none unless the runtime asked for it. */
  shaping: readonly TcObject[];
  portmap: Portmap;
}

export interface Leased {
  /** With its podCIDR's length. */
  address: Prefix;
  gateway: Address;
}

type Asked = Pick<CulvertConf, 'mac' | 'mappings' | 'bandwidth'>;

const addressesIn = (node: Node, leased: readonly Leased[]): IpConfig[] =>
  leased.map(({ address, gateway }) =>
    node.attach === 'ptp'
      ? { address: hostPrefix(address.address), gateway: nextHop[address.address.family], interface: 1 }
      : { address, gateway, interface: 2 },
  );

/**
 * An address with the length of what reaches the pod past the host's routing: on a bridge the podCIDR, one chain for all pods of
 * the node; with a link of its own nobody, so that sources stay as they are.
 */
const besideIt = ({ attach, podCIDRs }: Node, { address: { address, length } }: Leased): IpConfig => ({
  address:
    attach === 'ptp'
      ? hostPrefix(address)
      : { address, length: podCIDRs.find((p) => contains(p, address))?.length ?? length },
});

/** The pair's two ends, in the node's way of attaching. */
function planEnds(
  request: Request,
  node: Node,
  ips: readonly IpConfig[],
  ends: Pick<Attachment, 'host' | 'hostMac' | 'podMac'>,
) {
  const addresses = ips.map((ip) => ip.address);
  const gateways = gatewaysByFamily(ips);
  const routes = [...gateways].map(([family, gw]) => ({ dst: defaultPrefix(family), gw }));
  const share = { ifname: request.ifname, addresses, gateways, duplicateAddressDetection: false };
  const veth = planVeth({
    ...ends,
    pod: request.ifname,
    netns: request.netns,
    mtu: node.mtu,
    label: attachmentLabel(idOf(request)),
  });
  if (node.attach === 'bridge') {
    const port: LinkState = { ...veth, master: node.bridge, hairpin: true };
    return { addresses, routes, onHost: { links: [port] }, inPod: planPod({ ...share, routes }) };
  }
  const ptp = {
    ...ends,
    ifname: request.ifname,
    addresses: addresses.map((a) => a.address),
    nodeAddresses: node.addresses,
  };
  const inPod = { ...planPod({ ...share, routes: [] }), ...planPtpPod(ptp) };
  return { addresses, routes, onHost: { links: [veth], ...planPtpHost(ptp) }, inPod };
}

/** Plans the attachment of leased addresses, with what the runtime asked for. */
export function planAttachment(request: Request, node: Node, leased: readonly Leased[], asked: Asked): Attachment {
  const id = idOf(request);
  const ends = { host: hostVethName(id), hostMac: hostMac(id), podMac: asked.mac ?? podMac(id) };
  const ips = addressesIn(node, leased);
  const { onHost, ...planned } = planEnds(request, node, ips, ends);
  const shaped = shapedLinks(request, ends.host, node.mtu);
  const { links, objects } = planBandwidth(asked.bandwidth, shaped);
  const reached = { interfaces: [], ips: leased.map((l) => besideIt(node, l)), routes: [], dns: {} };
  return {
    ...ends,
    ...planned,
    ips,
    onHost: { ...onHost, links: [...onHost.links, ...links] },
    shaped,
    shaping: objects,
    portmap: portmapOf(plainPortmap(asked.mappings), reached, request.ifname),
  };
}

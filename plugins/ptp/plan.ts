/** What `ptp` plans for an attachment: the routes that lead everything by way of the host. Pure. */

import type { IpConfig, Result, Route } from '../../src/cni/types.ts';
import { ConfigError } from '../../src/errors.ts';
import { type Address, formatAddress } from '../../src/net/address.ts';
import { formatPrefix, hostPrefix, networkOf, type Prefix } from '../../src/net/prefix.ts';
import { planPod } from '../../src/plan/attachment.ts';
import { gatewaysByFamily } from '../../src/plan/bridge.ts';
import type { NamespaceState, RouteState } from '../../src/plan/host.ts';
import type { PtpConf } from './conf.ts';

/** An address that has its gateway: the host's address on the link. */
export type RoutedIp = IpConfig & { gateway: Address };

const isRouted = (ip: IpConfig): ip is RoutedIp => ip.gateway?.family === ip.address.address.family;

/** IPAM's addresses as the result has them. Throws ConfigError when one has no gateway. */
export function complete({ ipamType }: Pick<PtpConf, 'ipamType'>, { ips }: Pick<Result, 'ips'>): RoutedIp[] {
  const bare = ips.filter((ip) => !isRouted(ip));
  if (bare.length > 0) {
    throw new ConfigError(
      bare.map((ip) => ({
        path: `gateway of ${formatPrefix(ip.address)}`,
        got: ip.gateway ? formatAddress(ip.gateway) : 'nothing',
        want: `an IPv${ip.address.address.family} address, to be given by IPAM plugin "${ipamType}"`,
      })),
    );
  }
  return ips.filter(isRouted).map((ip) => ({ ...ip, interface: 1 }));
}

const isHost = (prefix: Prefix): boolean => prefix.length === hostPrefix(prefix.address).length;

/** Every container's link has the same gateway address; the prefix of one address makes no routes of its own. */
const gatewayAddresses = (ips: readonly RoutedIp[]): string[] => [
  ...new Set(ips.map((ip) => formatPrefix(hostPrefix(ip.gateway)))),
];

/** The host's share beside the link: the gateways as addresses of the link, and a route to each address of the container. */
export const hostShare = (host: string, ips: readonly RoutedIp[]): Partial<NamespaceState> => ({
  addresses: gatewayAddresses(ips).map((address) => ({ dev: host, address })),
  routes: ips.map(({ address: { address } }) => ({
    prefix: formatPrefix(hostPrefix(address)),
    dev: host,
    // IPv6 has no scopes of routes
    ...(address.family === 4 ? { scope: 'host' } : {}),
  })),
  sysctls: [
    // the host owns its routes: what a container advertises does not count
    { key: `net/ipv6/conf/${host}/accept_ra`, value: '0', optional: true },
    // until its link-local address is settled the host could not ask for the container's MAC
    { key: `net/ipv6/conf/${host}/accept_dad`, value: '0', optional: true },
  ],
});

/** To the gateway straight, to the address's network by way of the gateway. */
function routesOf(ifname: string, { address: prefix, gateway }: RoutedIp): { near: RouteState; far: RouteState[] } {
  const src = formatAddress(prefix.address);
  const scope = prefix.address.family === 4 ? { scope: 'link' } : {};
  const near = { prefix: formatPrefix(hostPrefix(gateway)), dev: ifname, src, ...scope };
  if (isHost(prefix)) return { near, far: [] };
  return { near, far: [{ prefix: formatPrefix(networkOf(prefix)), dev: ifname, via: formatAddress(gateway), src }] };
}

/** The container's share. A gateway that several addresses have is reached with the first of them as source. */
export function podShare(ifname: string, ips: readonly RoutedIp[], routes: readonly Route[]): Partial<NamespaceState> {
  const share = planPod({
    ifname,
    addresses: ips.map((ip) => ip.address),
    routes,
    gateways: gatewaysByFamily(ips),
    duplicateAddressDetection: false,
  });
  const first = new Map<string, RouteState>();
  const own = ips.map((ip) => routesOf(ifname, ip));
  for (const route of [...own.map((r) => r.near), ...own.flatMap((r) => r.far)]) {
    if (!first.has(route.prefix)) first.set(route.prefix, route);
  }
  return { ...share, routes: [...first.values(), ...(share.routes ?? [])] };
}

/**
 * What the kernel makes of the container's addresses by itself, which must not stay: the network straight on the link. On IPv4
 * our route takes its place; on IPv6 the kernel's has a metric of its own, and would win.
 */
export const kernelRoutes = (ifname: string, ips: readonly RoutedIp[]): Partial<NamespaceState> => {
  const networks = ips.filter((ip) => !isHost(ip.address)).map((ip) => networkOf(ip.address));
  const routes = networks.map(
    (network): RouteState => ({
      prefix: formatPrefix(network),
      dev: ifname,
      protocol: 'kernel',
      ...(network.address.family === 6 ? { metric: 256 } : {}),
    }),
  );
  return { routes: [...new Map(routes.map((r) => [r.prefix, r])).values()] };
};

/** All that bears our marks in the kernel of this namespace, whichever plugin or agent made it: what `diff` takes away against nothing. */

import { linksOf, routesOf } from '../../apply/read.ts';
import type { Kernel } from '../../kernel/kernel.ts';
import { isHostEnd } from '../../net/name.ts';
import { birdMetric } from '../../plan/bgp.ts';
import { emptyState, type LinkState, type NamespaceState, routeProtocol, type TableState } from '../../plan/host.ts';
import { podBridge } from '../../plan/node.ts';
import { deviceNames, isOurs } from '../../plan/overlay.ts';
import { conflistNetwork } from '../node-files.ts';

/** Everything that we label begins so: tunnels "culvert:vxlan", ends of pods' pairs "culvert:0123abcd:89ab4567 network container eth0". */
const label = /^culvert:(?:[a-z0-9]+$|[0-9a-f]{8}:[0-9a-f]{8}(?: |$))/;

const isLabelled = (l: LinkState): boolean =>
  l.alias !== undefined ? label.test(l.alias) : isOurs(l, '') || isHostEnd(conflistNetwork, l.name, l.address);

const isOwn = (l: LinkState): boolean => isLabelled(l) || (l.name === podBridge && l.make.kind === 'bridge');

/** Tunnels, then pods' links, then the bridge that they are on. */
const rank = (l: LinkState): number => (deviceNames.includes(l.name) ? 0 : l.name === podBridge ? 2 : 1);

export interface OwnedKernel {
  readonly state: NamespaceState;
  /** BIRD's routes, which it takes out by itself. */
  readonly birdRoutes: number;
}

export async function readOwned(kernel: Kernel): Promise<OwnedKernel> {
  const routes = [routeProtocol, 'bird'].map((protocol) => `route show table all proto ${protocol}`);
  const hasIpv6 = kernel.readSysctl('net/ipv6/conf/all/forwarding') !== undefined;
  const [shown, shown6, tables] = await Promise.all([
    kernel.show(['link show', ...routes]),
    hasIpv6 ? kernel.show(routes, undefined, 6) : [],
    kernel.showNft(['list', 'tables']),
  ]);
  const [links = [], routes4 = [], bird4 = []] = shown;
  const [routes6 = [], bird6 = []] = shown6;
  const state = {
    ...emptyState(),
    links: linksOf(links)
      .filter(isOwn)
      .sort((a, b) => rank(a) - rank(b)),
    routes: [...routesOf(routes4), ...routesOf(routes6)],
    tables: tablesOf(tables),
  };
  const isOurBirds = (r: unknown): boolean => (r as { metric?: number }).metric === birdMetric;
  return { state, birdRoutes: [...bird4, ...bird6].filter(isOurBirds).length };
}

/** "table inet culvert_cluster" */
export const tablesOf = (listed: string): TableState[] =>
  [...listed.matchAll(/^table (inet|ip|ip6|bridge) (culvert_\w+)$/gm)].map(([, family, name = '']) => ({
    family: family as TableState['family'],
    name,
    text: '',
  }));

/** Attachments by the labels of their links: "culvert 4f2a… eth0". */
export const podsOf = ({ links }: NamespaceState): string[] =>
  links.flatMap((l) => {
    const [mark = '', ...names] = (l.alias ?? '').split(' ');
    return l.make.kind === 'veth' && mark.split(':').length === 3 ? [names.join(' ')] : [];
  });

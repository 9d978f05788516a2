/**
 * Where two traffics go different ways, a node's first address (its tunnel device has it, for one of the two wraps) is led the way
 * that is only accepted: so that way is tried before any pod takes it, and a tunnel that needs a handshake has had it.
 */

import { type ClusterNode, podCidrsOf } from './cluster.ts';
import type { RouteState } from './host.ts';
import { hostText, podFamiliesOf } from './overlay.ts';

/** An address of another node's tunnel device, which no pod has. */
export interface Probe {
  readonly node: string;
  readonly address: string;
}

/** What a traffic comes to: what is planned, and what BIRD has brought of it. */
interface Routes {
  readonly routes: readonly RouteState[];
  readonly learnt: readonly RouteState[];
}

export function planTrial(others: readonly ClusterNode[], carrying: Routes, accepted: Routes) {
  const ways = ({ routes, learnt }: Routes) => new Map([...learnt, ...routes].map((r) => [r.prefix, r]));
  const [current, next] = [ways(carrying), ways(accepted)];
  const routes: RouteState[] = [];
  const probes: Probe[] = [];
  for (const node of others) {
    for (const family of podFamiliesOf(node)) {
      const { text, first } = podCidrsOf(node, family)[0]!;
      const [from, to] = [current.get(text), next.get(text)];
      if (!from || !to || (from.dev === to.dev && from.via === to.via && from.encapDst === to.encapDst)) continue;
      routes.push({ ...to, prefix: hostText(first, family) });
      probes.push({ node: node.name, address: first });
    }
  }
  return { routes, probes };
}

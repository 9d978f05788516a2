/** The network configurations that are measured, one per suite so that the suites share neither bridge nor leases. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Bench } from './section.ts';
import { run, type Suite } from './suite.ts';

export type Conf = { type: string } & Record<string, unknown>;

const cniVersion = '1.0.0'; // the newest that Debian 12's reference knows

/** A network's name, the suite's own: masquerade rules are named after network and container. */
const nameOf = (bench: Bench, suite: Suite, network: string): string => `${network}${bench.suites.indexOf(suite)}`;

/** A suite's second octet. */
const octet = (bench: Bench, suite: Suite): number => 90 + bench.suites.indexOf(suite);

export const bridgeOf = (bench: Bench, suite: Suite): string => `bench${bench.suites.indexOf(suite)}`;

const hostLocal = (bench: Bench, suite: Suite, name: string) => ({
  type: 'host-local',
  dataDir: join(bench.dir, `leases-${name}-${octet(bench, suite)}`),
  ranges: [[{ subnet: `10.${octet(bench, suite)}.0.0/16` }]],
  routes: [{ dst: '0.0.0.0/0' }],
});

export const bridgeConf = (bench: Bench, suite: Suite, ipMasq: boolean): Conf => ({
  cniVersion,
  name: nameOf(bench, suite, 'bench'),
  type: 'bridge',
  bridge: bridgeOf(bench, suite),
  isGateway: true,
  ipMasq,
  ipam: hostLocal(bench, suite, 'bridge'),
});

export const loopbackConf = (): Conf => ({ cniVersion, name: 'lo', type: 'loopback' });

/** A host port and rates for pod `i`, as Kubernetes asks for them. Suites that stand beside each other take other ports. */
const asked = (bench: Bench, suite: Suite, i: number) => ({
  portMappings: [{ hostPort: 20_000 + bench.suites.indexOf(suite) * 5_000 + i, containerPort: 80, protocol: 'tcp' }],
  bandwidth: { ingressRate: 1e9, ingressBurst: 1e8, egressRate: 1e9, egressBurst: 1e8 },
});

/** The chain that Kubernetes' users of the reference plugins have. */
export function chainConf(bench: Bench, suite: Suite, i: number): Conf[] {
  const { portMappings, bandwidth } = asked(bench, suite, i);
  const bridge = bridgeConf(bench, suite, true);
  const chained = (type: string, runtimeConfig: object): Conf => ({
    cniVersion,
    name: bridge['name'],
    type,
    runtimeConfig,
  });
  return [bridge, chained('portmap', { portMappings }), chained('bandwidth', { bandwidth })];
}

/** Ours as the agent configures it, for pod `i` with a port and rates; what comes nearest in the reference without: ptp with host-local. */
export function clusterConf(bench: Bench, suite: Suite, i?: number): Conf {
  if (suite !== bench.culvert) {
    return { cniVersion, name: nameOf(bench, suite, 'ptp'), type: 'ptp', ipam: hostLocal(bench, suite, 'ptp') };
  }
  const nodeFile = join(bench.dir, 'node.json');
  const dataDir = join(bench.dir, 'leases-culvert');
  mkdirSync(dataDir, { recursive: true });
  const podCIDRs = ['10.80.0.0/16'];
  run('ip addr replace 10.81.0.1/32 dev lo'); // pods are reached from the node's address: it has to be on an interface
  writeFileSync(nodeFile, JSON.stringify({ attach: 'ptp', podCIDRs, addresses: ['10.81.0.1'], mtu: 1450, dataDir }));
  const runtimeConfig = i === undefined ? {} : asked(bench, suite, i);
  return { cniVersion, name: 'culvert', type: 'culvert', nodeFile, runtimeConfig };
}

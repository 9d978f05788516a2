/** The network configurations that are measured, one per suite so that the suites share neither bridge nor leases. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Bench } from './section.ts';
import { run, type Suite } from './suite.ts';

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

export const bridgeConf = (bench: Bench, suite: Suite, ipMasq: boolean): object => ({
  cniVersion,
  name: nameOf(bench, suite, 'bench'),
  type: 'bridge',
  bridge: bridgeOf(bench, suite),
  isGateway: true,
  ipMasq,
  ipam: hostLocal(bench, suite, 'bridge'),
});

export const loopbackConf = (): object => ({ cniVersion, name: 'lo', type: 'loopback' });

/** Ours as the agent configures it; what comes nearest in the reference: ptp with host-local. */
export function clusterConf(bench: Bench, suite: Suite): { type: string } {
  if (suite !== bench.culvert) {
    return { cniVersion, name: nameOf(bench, suite, 'ptp'), type: 'ptp', ipam: hostLocal(bench, suite, 'ptp') } as {
      type: string;
    };
  }
  const nodeFile = join(bench.dir, 'node.json');
  const dataDir = join(bench.dir, 'leases-culvert');
  mkdirSync(dataDir, { recursive: true });
  const podCIDRs = ['10.80.0.0/16'];
  run('ip addr replace 10.81.0.1/32 dev lo'); // pods are reached from the node's address: it has to be on an interface
  writeFileSync(nodeFile, JSON.stringify({ attach: 'ptp', podCIDRs, addresses: ['10.81.0.1'], mtu: 1450, dataDir }));
  return { cniVersion, name: 'culvert', type: 'culvert', nodeFile } as { type: string };
}

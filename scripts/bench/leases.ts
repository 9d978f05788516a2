/** host-local by itself in a /16 that is empty, used and nearly full. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { addressAfter, formatAddress, parseAddress } from '../../src/net/address.ts';
import { parsePrefix } from '../../src/net/prefix.ts';
import { formatOwner } from '../../src/store/lease-files.ts';
import { Leases } from '../../src/store/leases.ts';
import { alternate, type Row } from './measure.ts';
import type { Bench, Section } from './section.ts';
import { type Execution, execute, type Suite } from './suite.ts';

const subnet = '10.99.0.0/16';
const network = 'bench';
const firstLease = parseAddress('10.99.0.2')!;

/** Leases as the suite itself would have left them: the address in turn is the one after the last. */
function fill(bench: Bench, suite: Suite, dataDir: string, count: number): void {
  const owner = (i: number) => ({ containerId: `pod${i}`, ifname: 'eth0' });
  if (suite === bench.culvert) {
    const leases = new Leases(dataDir, network);
    const prefix = parsePrefix(subnet)!;
    const set = [
      {
        subnet: prefix,
        start: firstLease,
        end: parseAddress('10.99.255.254')!,
        gateway: addressAfter(prefix.address, 1n),
      },
    ];
    for (let i = 0; i < count; i++) leases.reserve(owner(i), 0, set, addressAfter(firstLease, BigInt(i)));
    return;
  }
  const dir = join(dataDir, network);
  mkdirSync(dir, { recursive: true });
  for (let i = 0; i < count; i++) {
    writeFileSync(join(dir, formatAddress(addressAfter(firstLease, BigInt(i)))), formatOwner(owner(i)));
  }
  const last = formatAddress(addressAfter(firstLease, BigInt(count - 1)));
  if (count > 0) writeFileSync(join(dir, 'last_reserved_ip.0'), last);
}

async function measure(bench: Bench, count: number): Promise<Row[]> {
  const size = count.toLocaleString('en');
  const execution = (suite: Suite, command: string, round: number): Execution => {
    const dataDir = join(bench.dir, `leases-${count}-${bench.suites.indexOf(suite)}`);
    const ipam = { type: 'host-local', dataDir, ranges: [[{ subnet }]] };
    const conf = { cniVersion: '1.0.0', name: network, type: 'bridge', ipam };
    return { suite, plugin: 'host-local', command, conf, containerId: `bench${round}`, netns: '/run/netns/none' };
  };
  for (const suite of bench.suites) {
    const { ipam } = execution(suite, 'ADD', 0).conf as { ipam: { dataDir: string } };
    fill(bench, suite, ipam.dataDir, count);
  }
  const rounds = count > 10_000 ? { warmUp: 1, rounds: Math.ceil(bench.rounds.rounds / 4) } : bench.rounds;
  const verb = async (command: string): Promise<Row> => {
    const subjects = bench.suites.map((suite) => {
      return { label: suite.label, run: (round: number) => execute(execution(suite, command, round)).ms };
    });
    return { work: `${size} leases: ${command}`, unit: 'ms', figures: await alternate(subjects, rounds) };
  };
  return [await verb('ADD'), await verb('DEL')];
}

async function run(bench: Bench): Promise<Row[]> {
  const rows: Row[] = [];
  for (const count of bench.quick ? [0, 1000] : [0, 1000, 60_000]) rows.push(...(await measure(bench, count)));
  return rows;
}

export const leases: Section = { name: 'leases', title: 'host-local in a /16', run };

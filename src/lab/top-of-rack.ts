/** A router of the lab that speaks BGP, as the switch on top of a rack does: it learns pod ranges from the nodes on its links and tells each of the others'. */

import { spawn } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaultAs } from '../cluster/schema.ts';
import { type BirdFiles, birdArgv, birdFiles } from '../kernel/bird.ts';
import { type Family, families, formatAddress } from '../net/address.ts';
import { readIfThere } from '../store/files.ts';
import { labVariable, type Place } from './place.ts';
import { commandLineOf, endProcesses, isInNamespace, type ProcessId, processOf } from './process.ts';
import type { Node, Router, Topology } from './topology.ts';

/** A node as a router sees it. */
export interface Neighbour {
  readonly name: string;
  readonly family: Family;
  /** The router's address on the link between them, and the node's. */
  readonly local: string;
  readonly address: string;
  readonly as: number;
}

const originated: Readonly<Record<Family, string>> = { 4: '0.0.0.0/0', 6: '::/0' };

/** BIRD's configuration of a router: all that nodes tell goes into its kernel and to the other nodes; it offers itself as default route. */
export function renderRouter(as: number, neighbours: readonly Neighbour[]): string {
  const inUse = families.filter((f) => neighbours.some((n) => n.family === f));
  const id = neighbours.find((n) => n.family === 4)?.local ?? '192.0.2.1';
  const perFamily = inUse.flatMap((f) => [
    `protocol kernel { scan time 1; ipv${f} { export where source = RTS_BGP; }; }`,
    `protocol static { ipv${f}; route ${originated[f]} unreachable; }`,
  ]);
  const sessions = neighbours.map((n) =>
    [
      `protocol bgp 'node${n.family}-${n.name}' {`,
      `  local ${n.local} as ${as};`,
      `  neighbor ${n.address} as ${n.as};`,
      '  strict bind; connect delay time 1; connect retry time 5; error wait time 1, 5; hold time 30;',
      `  ipv${n.family} { import all; export all; };`,
      '}',
    ].join('\n'),
  );
  const head = ['log syslog { fatal, bug, error, warning };', `router id ${id};`, 'protocol device { }'];
  return `${[...head, ...perFamily, ...sessions].join('\n')}\n`;
}

/** Pairs of addresses on shared segments, one per family. */
function links(router: Router, node: Node): { family: Family; local: string; address: string }[] {
  return families.flatMap((family) => {
    const shared = node.ports.flatMap((port) => {
      const other = router.ports.find((p) => p.segment === port.segment);
      const [a, b] = [other, port].map((p) => p?.addresses.find((x) => x.address.family === family));
      return a && b ? [{ family, local: formatAddress(a.address), address: formatAddress(b.address) }] : [];
    });
    return shared.slice(0, 1);
  });
}

/** Mode bgp's own number for all nodes, as in the agent's settings. */
const nodeAs = ({ agent }: Node): number => Number((agent['bgp'] as { as?: unknown } | undefined)?.as ?? defaultAs);

const speaks = (node: Node): boolean => node.agent['mode'] === 'bgp';

/** The routers that a node's agent is to name in `bgp.peers`. */
export const peersOf = (node: Node, topology: Topology): { address: string; as: number }[] =>
  topology.routers.flatMap((router) =>
    router.as === undefined || !speaks(node)
      ? []
      : links(router, node).map(({ local }) => ({ address: local, as: router.as! })),
  );

const neighboursOf = (router: Router, { nodes }: Topology): Neighbour[] =>
  nodes.filter(speaks).flatMap((node) => links(router, node).map((l) => ({ ...l, name: node.name, as: nodeAs(node) })));

function run(argv: readonly string[], place: Place, router: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const env = { ...process.env, LC_ALL: 'C', [labVariable]: place.lab };
  const child = spawn('nsenter', [`--net=${place.netns(router)}`, '--', ...argv], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  child.on('error', reject);
  child.on('exit', (code) =>
    code === 0
      ? resolve()
      : reject(new Error(`BIRD on ${router} did not start: ${said.trim() || `exit ${code}`}; is bird2 installed?`)),
  );
  return promise;
}

/** The BIRD of a router, if that very process still runs. */
function runningBird(files: BirdFiles, netns: string): ProcessId | undefined {
  const process = processOf(Number(readIfThere(files.pid) ?? -1));
  return process && commandLineOf(process).includes(files.configuration) && isInNamespace(process, netns)
    ? process
    : undefined;
}

/** Makes the routers' speakers those of the topology. Answers the names of those started. */
export async function ensureRouters(topology: Topology, place: Place): Promise<string[]> {
  const started: string[] = [];
  for (const router of topology.routers) {
    const folder = join(place.dir, 'routers', router.name);
    const files = birdFiles(folder);
    const neighbours = router.as === undefined ? [] : neighboursOf(router, topology);
    const running = runningBird(files, place.netns(router.name));
    const wanted = neighbours.length > 0 ? renderRouter(router.as!, neighbours) : undefined;
    if (running && readIfThere(files.configuration) === wanted) continue;
    if (running) await endProcesses([running]);
    rmSync(folder, { recursive: true, force: true });
    if (wanted === undefined) continue;
    mkdirSync(folder, { recursive: true });
    writeFileSync(files.configuration, wanted);
    await run(birdArgv(files, false), place, router.name);
    started.push(router.name);
  }
  return started;
}

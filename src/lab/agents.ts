/** The node agents of a lab: their files, their processes, and how they are. */

import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { stringify } from 'yaml';
import type { Machine } from '../kernel/machine.ts';
import { nodeName } from '../kernel/own.ts';
import { formatAddress } from '../net/address.ts';
import { formatPrefix } from '../net/prefix.ts';
import { readIfThere, replaceIfOther } from '../store/files.ts';
import { ensurePublicKey } from '../store/keys.ts';
import { labVariable, type Place } from './place.ts';
import { endProcesses, executableOf, isAlive, isInNamespace, type ProcessId, processOf, waitUntil } from './process.ts';
import { peersOf } from './top-of-rack.ts';
import type { AgentSettings, Node, Topology } from './topology.ts';

/** Where an agent answers, on all addresses of its node: `culvert mode` asks for every node's state. */
const port = 9440;

const readyTimeoutMs = 30_000;

export type AgentHealth = 'ready' | 'not ready' | 'down';

/** Whether a mode of this agent's configuration needs a key. */
export const needsKey = (agent: Readonly<Record<string, unknown>>): boolean =>
  [agent['mode'], agent['betweenSites']].includes('wireguard');

/** The nodes' public keys, where their modes need one, as `culvert keys` prints them. */
export const publicKeys = ({ nodes }: Topology, place: Place): Map<string, string> =>
  new Map(
    nodes
      .filter((n) => needsKey(n.agent))
      .map((n) => [n.name, ensurePublicKey(join(place.node(n.name).state, 'wireguard.key'))]),
  );

/** The cluster as every agent reads it: each node's first address of a family, its podCIDRs, and what else its modes ask for. */
export const clusterYaml = (topology: Topology, keys: ReadonlyMap<string, string>): string =>
  stringify({
    nodes: topology.nodes.map((n) => ({
      name: n.name,
      addresses: topology.families.flatMap((family) => {
        const address = n.ports.flatMap((p) => p.addresses).find((a) => a.address.family === family);
        return address ? [formatAddress(address.address)] : [];
      }),
      podCIDRs: n.podCIDRs.map(formatPrefix),
      publicKey: keys.get(n.name),
      site: n.site,
    })),
  });

/** The node's own settings, with the routers on its links that speak BGP. */
function settingsOf(node: Node, topology: Topology): AgentSettings {
  const peers = peersOf(node, topology);
  const own = (node.agent['bgp'] ?? {}) as object;
  return peers.length === 0 ? node.agent : { ...node.agent, bgp: { peers, ...own } };
}

export function agentYaml(node: Node, topology: Topology, place: Place): string {
  const { run, state, cniConf, leases } = place.node(node.name);
  return stringify({
    node: node.name,
    cluster: { source: 'file', file: place.clusterYaml },
    ...settingsOf(node, topology),
    listen: `${topology.families.includes(6) ? '[::]' : '0.0.0.0'}:${port}`,
    paths: { run, state, cniConf, leases },
  });
}

/** The agent's process as its pid file remembers it, if that very process still runs. */
export function agentProcess(place: Place, node: string): ProcessId | undefined {
  const text = readIfThere(place.node(node).agentPid);
  if (!text) return undefined;
  const [pid, startTime] = text.trim().split(' ');
  const process = { pid: Number(pid), startTime: startTime ?? '' };
  return isAlive(process) ? process : undefined;
}

/** Bash opens the connection: a fresh Debian has no curl, and this process cannot enter the namespace itself. */
const ask = `exec 3<>/dev/tcp/127.0.0.1/${port} && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && head -1 <&3`;

export async function agentHealth(place: Place, node: string, { exec }: Machine): Promise<AgentHealth> {
  if (!agentProcess(place, node)) return 'down';
  try {
    const answer = await exec(['bash', '-c', ask], { netns: place.netns(node), timeoutMs: 5000 });
    return / 200 /.test(answer) ? 'ready' : 'not ready';
  } catch {
    return 'not ready'; // nothing listens yet
  }
}

function start(place: Place, node: string, executable: string): void {
  const files = place.node(node);
  const log = openSync(files.agentLog, 'a');
  const argv = [`--net=${place.netns(node)}`, '--', executable, 'agent', '--config', files.agentYaml];
  const child = spawn('nsenter', argv, {
    detached: true,
    stdio: ['ignore', log, log],
    env: { ...process.env, [labVariable]: place.lab },
  });
  child.on('error', () => {}); // no nsenter: there is no process, and waiting for it says so
  closeSync(log);
  child.unref();
  const started = child.pid === undefined ? undefined : processOf(child.pid);
  if (started) writeFileSync(files.agentPid, `${started.pid} ${started.startTime}\n`);
}

const logTail = (place: Place, node: string): string =>
  (readIfThere(place.node(node).agentLog) ?? '').trimEnd().split('\n').slice(-5).join('\n');

/** Same settings, same executable file (not one replaced by a build since), and in the namespace that has the node's name today. */
function isCurrent(agent: ProcessId, place: Place, node: string, executable: string): boolean {
  const file = realpathSync(executable);
  const becomes = join(dirname(file), nodeName);
  return [file, becomes].includes(executableOf(agent) ?? '') && isInNamespace(agent, place.netns(node));
}

/**
 * Makes sure that a node's agent runs with these settings and is ready; answers whether it was (re)started. Throws an Error
 * with the end of its log when it ends or is not ready in time.
 */
export async function ensureAgent(
  node: Node,
  topology: Topology,
  place: Place,
  executable: string,
  machine: Machine,
): Promise<boolean> {
  const files = place.node(node.name);
  for (const dir of [files.run, files.state, files.cniConf, files.leases, files.attachments])
    mkdirSync(dir, { recursive: true });
  const isNew = replaceIfOther(files.agentYaml, agentYaml(node, topology, place));
  const running = agentProcess(place, node.name);
  const keep = running !== undefined && !isNew && isCurrent(running, place, node.name, executable);
  if (!keep) {
    if (running) await endProcesses([running]);
    for (const file of [files.agentPid, files.agentLog]) rmSync(file, { force: true });
    start(place, node.name, executable);
  }
  const health = () => agentHealth(place, node.name, machine);
  await waitUntil(async () => (await health()) !== 'not ready', readyTimeoutMs, 50);
  const last = await health();
  if (last === 'ready') return !keep;
  const what = last === 'down' ? 'ended' : `is not ready after ${readyTimeoutMs / 1000} s`;
  throw new Error(`agent of ${node.name} ${what}; its log ends with:\n${logTail(place, node.name)}`);
}

/**
 * `up` brings a lab to what its topology says, from whatever is there: nothing, another topology, the rest of a crash.
 * `down` removes whatever carries the lab's name.
 */

import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { UsageError } from '../command.ts';
import type { Machine } from '../kernel/machine.ts';
import { readIfThere, replaceIfOther } from '../store/files.ts';
import { agentProcess, clusterYaml, ensureAgent, publicKeys } from './agents.ts';
import { holderOf, takeLock } from './lock.ts';
import { ensureWiring, listNamespaces, removeNamespace } from './namespaces.ts';
import { netnsDir, Place } from './place.ts';
import { Pods } from './pods.ts';
import {
  commandLineOf,
  endProcesses,
  isInNamespace,
  isPlugin,
  type ProcessId,
  processesOf,
  processOf,
} from './process.ts';
import { hostName } from './schema.ts';
import { ensureRouters } from './top-of-rack.ts';
import { type AgentSettings, decodeTopology, type Topology } from './topology.ts';
import { wire } from './wiring.ts';

export interface LabOptions {
  name: string;
  /** Folder that the labs' own folders are in. */
  stateDir: string;
  /** Folder of the executable and its links: CNI_PATH, and where `culvert` is. Only what executes something needs it. */
  binDir: string | undefined;
}

/** What `down` found and removed. */
export interface Removed {
  namespaces: number;
  processes: number;
  hadFiles: boolean;
}

export type Progress = (text: string) => void;

interface Saved {
  document: unknown;
  overrides: AgentSettings;
}

export class Lab {
  readonly place: Place;
  readonly #binDir: string | undefined;
  readonly #machine: Machine;
  #isHeld = false;

  constructor(options: LabOptions, machine: Machine) {
    this.place = new Place(options.name, options.stateDir);
    this.#binDir = options.binDir;
    this.#machine = machine;
  }

  /** The topology of the last `up`, undefined when there was none. */
  saved(): Saved | undefined {
    const text = readIfThere(this.place.topologyJson);
    return text === undefined ? undefined : (JSON.parse(text) as Saved);
  }

  topology(): Topology | undefined {
    const saved = this.saved();
    return saved && decodeTopology(saved.document, saved.overrides);
  }

  get binDir(): string {
    if (this.#binDir) return this.#binDir;
    throw new UsageError('--bin: got nothing, want the folder with culvert and the plugins, such as dist/bin');
  }

  pods(node: string): Pods {
    return new Pods(this.place, node, this.binDir, this.#machine);
  }

  /** Throws ConfigError before anything is touched, any other Error where the lab could not be completed. */
  async up(document: unknown, overrides: AgentSettings, progress: Progress): Promise<Topology> {
    const topology = decodeTopology(document, overrides);
    const executable = join(this.binDir, 'culvert');
    mkdirSync(this.place.dir, { recursive: true });
    using _lock = this.#lock();
    replaceIfOther(this.place.topologyJson, `${JSON.stringify({ document, overrides } satisfies Saved)}\n`);
    const wiring = wire(topology, this.place.lab);
    await this.#clear(topology, [...wiring.hosts, ...topology.nodes.flatMap((n) => n.pods)]);
    await ensureWiring(this.place, wiring, this.#machine);
    progress(`${topology.nodes.length} nodes wired: ${wiring.hosts.length} namespaces, ${wiring.wires.length} links`);
    replaceIfOther(this.place.clusterYaml, clusterYaml(topology, publicKeys(topology, this.place)));
    for (const router of await ensureRouters(topology, this.place)) progress(`${router}: BIRD started`);
    await Promise.all(
      topology.nodes.map(async (node) => {
        const isNew = await ensureAgent(node, topology, this.place, executable, this.#machine);
        progress(`${node.name}: agent ${isNew ? 'started' : 'runs'}, ready`);
        const changed = await this.pods(node.name).ensure(node);
        progress(
          `${node.name}: ${changed.length > 0 ? `${changed.join(', ')} attached` : 'pods attached as they were'}`,
        );
      }),
    );
    return topology;
  }

  /** Ends processes that are not where they should be, or go on for an `up` that was killed, and removes namespaces that no longer belong to the lab. */
  async #clear(topology: Topology, planned: readonly string[]): Promise<void> {
    const nodes = new Set(topology.nodes.map((n) => n.name));
    const homes = planned.map((host) => this.place.netns(host));
    const agents = this.#agents();
    const isAgent = (p: ProcessId) => agents.some((a) => a.pid === p.pid);
    const strays = processesOf(this.place.lab).filter(
      (p) => !isAgent(p) && (isPlugin(p) || isAgentProcess(p) || !homes.some((netns) => isInNamespace(p, netns))),
    );
    const homeless = agents.filter((a) => !nodes.has(a.node) || !isInNamespace(a, this.place.netns(a.node)));
    await endProcesses([...strays, ...homeless]);
    for (const host of listNamespaces(this.place)) {
      if (!planned.includes(host)) await removeNamespace(this.place, host, this.#machine);
    }
    for (const node of this.#nodeDirs()) {
      if (!nodes.has(node)) rmSync(this.place.node(node).dir, { recursive: true, force: true });
    }
  }

  #nodeDirs(): string[] {
    return readIfDir(dirname(this.place.node('any').dir));
  }

  #agents(): (ProcessId & { node: string })[] {
    return this.#nodeDirs().flatMap((node) => {
      const agent = agentProcess(this.place, node);
      return agent ? [{ ...agent, node }] : [];
    });
  }

  /** Processes by the mark in their environment and by the namespace they are in. */
  async #processes(): Promise<ProcessId[]> {
    const marked = processesOf(this.place.lab);
    const homes = listNamespaces(this.place);
    const inside = await Promise.all(
      homes.map((host) => this.#machine.exec(['ip', 'netns', 'pids', this.place.namespace(host)]).catch(() => '')),
    );
    const pids = new Set(
      inside.flatMap((text) =>
        text
          .split('\n')
          .filter((l) => l !== '')
          .map(Number),
      ),
    );
    for (const p of marked) pids.delete(p.pid);
    pids.delete(process.pid);
    return [...marked, ...[...pids].flatMap((pid) => processOf(pid) ?? [])];
  }

  /** Keeps everybody else from changing the lab until it is disposed of. Throws an Error when somebody else does. */
  hold(): Disposable {
    const held = takeLock(this.place.lock, `lab ${this.place.lab}`);
    this.#isHeld = true;
    return {
      [Symbol.dispose]: () => {
        this.#isHeld = false;
        held[Symbol.dispose]();
        removeIfEmpty(dirname(this.place.dir));
      },
    };
  }

  #lock(): Disposable {
    return this.#isHeld ? { [Symbol.dispose]: () => {} } : this.hold();
  }

  async down(): Promise<Removed> {
    using _lock = this.#lock();
    const hadFiles = existsSync(this.place.dir);
    // agents first: they would start a BIRD again that ends before them
    const agents = await endProcesses((await this.#processes()).filter(isAgentProcess));
    const processes = agents + (await endProcesses(await this.#processes()));
    const hosts = listNamespaces(this.place);
    for (const host of hosts) await removeNamespace(this.place, host, this.#machine);
    rmSync(this.place.dir, { recursive: true, force: true });
    return { namespaces: hosts.length, processes, hadFiles };
  }
}

/** Labs whose names begin so, that have namespaces or files, and that no living process holds. */
export function abandonedLabs(prefix: string, stateDir: string): string[] {
  // "NAME.node1" in one, "NAME" and "NAME.lock" in the other
  const names = [netnsDir, stateDir].flatMap(readIfDir).map((n) => n.split('.')[0]!);
  return [...new Set(names)]
    .filter((name) => name.startsWith(prefix) && hostName.safeParse(name).success)
    .filter((name) => holderOf(new Place(name, stateDir).lock) === undefined);
}

const readIfDir = (dir: string): string[] => (existsSync(dir) ? readdirSync(dir) : []);

/** An agent, also one that no pid file knows: `up` was killed between the two. Two agents on one node would fight. */
const isAgentProcess = (p: ProcessId): boolean => commandLineOf(p).slice(1, 3).join(' ') === 'agent --config';

function removeIfEmpty(dir: string): void {
  try {
    rmdirSync(dir);
  } catch {
    // other labs are in it, or it is somebody else's folder, or already gone
  }
}

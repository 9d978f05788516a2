/** A topology (the same document that `culvert lab up` takes) with a machine of its own for every node. */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { clusterYaml, needsKey } from '../../../src/lab/agents.ts';
import { type AgentSettings, decodeTopology, type Node, type Topology } from '../../../src/lab/topology.ts';
import type { Family } from '../../../src/net/address.ts';
import { type Base, ensureBase } from './base.ts';
import { Capture } from './capture.ts';
import { projectDrive } from './drives.ts';
import { makeDisk } from './image.ts';
import { LabNode } from './node.ts';
import { scratchDir } from './scratch.ts';
import { Segments } from './segments.ts';
import { Vm, type VmOptions } from './vm.ts';

export interface Settings {
  agent: AgentSettings;
  /** Families of the node addresses that the cluster file names; both when left out. */
  underlay?: readonly Family[];
  /** It names the nodes' public keys, also while no mode needs them. */
  keys?: boolean;
}

/** What its machines have more than usual. */
export interface Extras extends Pick<VmOptions, 'drives' | 'memoryMebibytes' | 'translationMebibytes'> {
  /** A folder: what is on the disk of each from the start. */
  disk?: string;
}

export class VmLab {
  readonly topology: Topology;
  readonly dir: string;
  readonly segments: Segments;
  readonly nodes: LabNode[] = [];
  /** The nodes' public keys, once a mode has needed them. */
  #keys: Map<string, string> | undefined;

  private constructor(topology: Topology, dir: string, segments: Segments) {
    this.topology = topology;
    this.dir = dir;
    this.segments = segments;
  }

  /** Machines booted, with addresses and routes, and nothing of the product yet. */
  static async up(document: unknown, extras: Extras = {}): Promise<VmLab> {
    const [base, project] = [await ensureBase(), await projectDrive()];
    const topology = decodeTopology(document);
    const dir = scratchDir();
    const lab = new VmLab(topology, dir, await Segments.create(topology));
    try {
      lab.nodes.push(...(await Promise.all(topology.nodes.map((node) => lab.#boot(node, base, project, extras)))));
      return lab;
    } catch (error) {
      await lab.down();
      throw error;
    }
  }

  async #boot(spec: Node, base: Base, project: string, { disk, ...extras }: Extras): Promise<LabNode> {
    const dir = join(this.dir, spec.name);
    mkdirSync(dir);
    const state = join(dir, 'state.ext4');
    await makeDisk(state, disk);
    const nics = await this.segments.taps(spec.name, spec.ports);
    const vm = await Vm.boot({
      name: spec.name,
      dir,
      base,
      namespace: this.segments.wires,
      nics,
      ...extras,
      drives: { project, state, ...extras.drives },
    });
    const node = new LabNode(spec, vm, this.segments.network(spec.name, spec.ports));
    await node.wire();
    return node;
  }

  node(name: string): LabNode {
    const found = this.nodes.find((n) => n.name === name);
    if (!found) throw new Error(`node: got "${name}", want one of ${this.nodes.map((n) => n.name).join(', ')}`);
    return found;
  }

  /**
   * Gives every node this configuration; resolves when all agents have taken it up. How pods' packets travel is said to the cluster:
   * agents that run already change over.
   */
  async configure({ agent = {}, underlay = [4, 6], keys = needsKey(agent) }: Settings): Promise<void> {
    const isUsed = (family: Family) => underlay.includes(family);
    const nodes = this.topology.nodes.map((n) => ({
      ...n,
      ports: n.ports.map((p) => ({ ...p, addresses: p.addresses.filter((a) => isUsed(a.address.family)) })),
    }));
    if (keys)
      this.#keys ??= new Map(await Promise.all(this.nodes.map(async (n) => [n.name, await n.publicKey()] as const)));
    const { mode, betweenSites, sameSubnet = 'tunnel', ...own } = agent;
    const traffic = mode && { mode, betweenSites, sameSubnet };
    const cluster =
      (traffic ? stringify({ traffic }) : '') + clusterYaml({ ...this.topology, nodes }, this.#keys ?? new Map());
    writeFileSync(this.clusterFile, cluster);
    await Promise.all(this.nodes.map((node) => node.provision({ cluster, agent: { ...node.spec.agent, ...own } })));
  }

  /** The cluster as it was last said; every machine has a copy. */
  get clusterFile(): string {
    return join(this.dir, 'cluster.yaml');
  }

  /** Takes the cluster file to all machines. */
  async publish(): Promise<void> {
    const cluster = readFileSync(this.clusterFile, 'utf8');
    await Promise.all(this.nodes.map((node) => node.writeCluster(cluster)));
  }

  /** Pings from every node's first pod to all pods of the other nodes; answers "pod > address" where nothing came back. */
  async unreachable(): Promise<string[]> {
    const lost = await Promise.all(
      this.nodes.map(async (node) => {
        const others = this.nodes.filter((n) => n !== node).flatMap((n) => n.pods);
        const addresses = others.flatMap((p) => Object.values(p.addresses));
        const from = node.pods[0]!.name;
        return (await node.unreachable(from, addresses)).map((a) => `${from} > ${a}`);
      }),
    );
    return lost.flat();
  }

  capture(segment: string, filter?: string): Promise<Capture> {
    return Capture.start(this.segments.wires, this.segments.bridge(segment), filter);
  }

  async down(): Promise<void> {
    await Promise.all(this.nodes.map((n) => n.vm.off()));
    this.segments.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

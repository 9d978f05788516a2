/**
 * What is between the machines: a namespace with a bridge for each segment, on which taps and captures sit, and a namespace
 * for every machine that is not a node (routers, the outside host).
 */

import type { Port, Topology } from '../../../src/lab/topology.ts';
import { wire } from '../../../src/lab/wiring.ts';
import { macFrom } from '../../../src/net/mac.ts';
import { diff } from '../../../src/plan/diff.ts';
import { emptyState, type NamespaceState } from '../../../src/plan/host.ts';
import { asCommand, render } from '../../../src/plan/render.ts';
import { Namespace } from './namespace.ts';

/** A shell script that makes a fresh machine's network what it should be. */
export const networkScript = (state: NamespaceState, mtus: readonly string[]): string =>
  [...mtus, ...diff(emptyState(), state).flatMap((change) => render(change).map(asCommand))].join('\n');

export const macOf = (machine: string, ifname: string): string => macFrom(`vm\0${machine}\0${ifname}`);

/**
 * An emulated machine among busy processors stands still for some seconds now and then. What is sent to it meanwhile waits, and its
 * neighbours go on believing in it: a test of lost packets is no test of that.
 */
const patience = { packets: 10_000, seconds: 30 };

export class Segments {
  readonly topology: Topology;
  /** Where the bridges are. */
  readonly wires: Namespace;
  readonly #others = new Map<string, Namespace>();
  readonly #states: Map<string, NamespaceState>;
  #ports = 0;

  private constructor(topology: Topology, wires: Namespace) {
    this.topology = topology;
    this.wires = wires;
    this.#states = wire(topology, 'vm').states;
  }

  static async create(topology: Topology): Promise<Segments> {
    const segments = new Segments(topology, await Namespace.create());
    await segments.wires.exec(
      topology.segments
        .map(({ name }, i) =>
          [
            `ip link add name ${segments.bridge(name)} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
            // the bridge itself says nothing on the segment
            `sysctl -qw net.ipv6.conf.s${i}.disable_ipv6=1`,
            `ip link set dev s${i} up`,
          ].join('\n'),
        )
        .join('\n'),
    );
    const others = [...topology.routers, ...(topology.outside ? [topology.outside] : [])];
    for (const { name, ports } of others) await segments.#addOther(name, ports);
    return segments;
  }

  /** The bridge of a segment. */
  bridge(segment: string): string {
    return `s${this.topology.segments.findIndex((s) => s.name === segment)}`;
  }

  #mtu(segment: string): number {
    return this.topology.segments.find((s) => s.name === segment)!.mtuBytes;
  }

  async #addOther(name: string, ports: readonly Port[]): Promise<void> {
    const namespace = await Namespace.create();
    this.#others.set(name, namespace);
    for (const { ifname, segment } of ports) {
      const port = `p${this.#ports++}`;
      const peer = `peer name ${ifname} address ${macOf(name, ifname)} netns ${namespace.pid}`;
      await this.wires.exec(`ip link add name ${port} mtu ${this.#mtu(segment)} type veth ${peer}
        ip link set dev ${port} master ${this.bridge(segment)} up`);
    }
    const keys = ports.flatMap(({ ifname }) => [`ipv4.neigh.${ifname}`, `ipv6.neigh.${ifname}`]);
    await namespace.exec(`${this.network(name, ports)}
      sysctl -qw ${keys.map((key) => `net.${key}.ucast_solicit=${patience.seconds}`).join(' ')}`);
  }

  /** Where a machine is that is no node. */
  other(name: string): Namespace {
    return this.#others.get(name)!;
  }

  /** Taps for a node's interfaces, to be given to its machine. */
  async taps(node: string, ports: readonly Port[]): Promise<{ tap: string; mac: string }[]> {
    const taps: { tap: string; mac: string }[] = [];
    for (const { ifname, segment } of ports) {
      const tap = `t${this.#ports++}`;
      await this.wires.exec(`ip tuntap add dev ${tap} mode tap vnet_hdr
        sysctl -qw net.ipv6.conf.${tap}.disable_ipv6=1
        ip link set dev ${tap} mtu ${this.#mtu(segment)} txqueuelen ${patience.packets}
        ip link set dev ${tap} master ${this.bridge(segment)} up`);
      taps.push({ tap, mac: macOf(node, ifname) });
    }
    return taps;
  }

  /** Packets that no machine took in time. */
  async dropped(): Promise<number> {
    const links: { stats64: { tx: { dropped: number } } }[] = JSON.parse(await this.wires.exec('ip -j -s link show'));
    return links.reduce((sum, { stats64 }) => sum + stats64.tx.dropped, 0);
  }

  /** The script that gives a machine its addresses, routes and sysctls. */
  network(machine: string, ports: readonly Port[]): string {
    const mtus = ports.map((p) => `ip link set dev ${p.ifname} mtu ${this.#mtu(p.segment)}`);
    return networkScript(this.#states.get(machine)!, mtus);
  }

  close(): void {
    for (const namespace of [...this.#others.values(), this.wires]) namespace.close();
  }
}

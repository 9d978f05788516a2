/** What the agent has to say about itself: metrics for Prometheus, problems for people. */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { type JudgedLease, leaseStates } from '../ipam/judge.ts';
import type { Family } from '../net/address.ts';
import type { ClusterTraffic } from '../plan/cluster.ts';
import type { Outlook } from './converge.ts';
import type { WayStatus } from './ways.ts';

/** What the host was last made as. */
export interface Applied {
  readonly node: string;
  /** The digest of the cluster that was read. */
  readonly cluster: string | undefined;
  readonly traffic: ClusterTraffic;
  /** Of pods to come, in bytes. */
  readonly mtu: number;
  /** Tunnel devices whose packets get their checksums from this host's processor, since devices below make them wrong. */
  readonly softwareChecksums: readonly string[];
  /** What of `alsoAccept` cannot be had. */
  readonly notAccepted: readonly string[];
  /** What of the way that is only accepted is not there yet: "node2 at 10.244.2.0". */
  readonly unanswered: readonly string[];
}

/** Addresses of the node's podCIDRs of a family. */
export interface PoolStatus {
  readonly family: `ipv${Family}`;
  readonly size: number;
  readonly leased: number;
}

/** What /status answers. */
export interface NodeStatus extends Applied {
  /** Whether the cluster source was right at the last look. This and `pools` are new: during an upgrade some agents do not say them. */
  readonly sourceOk?: boolean;
  /** As they were at the last look, some seconds ago; none where leases are not swept. */
  readonly pools?: readonly PoolStatus[];
  /** Mode auto: what leads to each node, and why. */
  readonly ways: readonly WayStatus[];
  readonly problems: readonly string[];
}

export class Status {
  readonly registry = new Registry();
  /** The first pass that went through has been. */
  ready = false;
  applied: Applied | undefined;
  /** All that is wrong at present, in words. */
  problems: readonly string[] = ['no pass has been made yet'];
  sourceOk = false;
  pools: readonly PoolStatus[] = [];

  readonly #nodes = this.#gauge('culvert_nodes', 'Nodes in the cluster view, this one included');
  readonly #routes = this.#gauge('culvert_routes', 'Routes to podCIDRs of other nodes that are planned');
  readonly #mtu = this.#gauge('culvert_mtu_bytes', 'MTU of pods on this node');
  readonly #mode = new Gauge({
    name: 'culvert_mode',
    help: "1 for the mode that carries pods' packets (state carries), and for one that is accepted too (state accepts)",
    labelNames: ['mode', 'state'],
    registers: [this.registry],
  });
  readonly #narrow = this.#gauge(
    'culvert_narrow_routes',
    'Routes with an MTU of their own, since less gets through than this host lets through',
  );
  readonly #problems = this.#gauge('culvert_problems', 'Problems at present; /readyz names them');
  readonly #sourceOk = this.#gauge(
    'culvert_cluster_source_ok',
    '1 when the cluster source was right at the last look, else 0',
  );
  readonly #success = this.#gauge('culvert_last_success_timestamp_seconds', 'When the host was last as planned');
  readonly #changes = new Counter({
    name: 'culvert_changes_total',
    help: 'Changes made to the kernel, by kind',
    labelNames: ['op'],
    registers: [this.registry],
  });
  readonly #repairs = new Counter({
    name: 'culvert_repairs_total',
    help: 'Changes made though the plan had not changed: somebody else had',
    registers: [this.registry],
  });
  readonly #duration = new Histogram({
    name: 'culvert_reconcile_duration_seconds',
    help: 'Duration of a pass: look, plan, compare, apply',
    buckets: [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5],
    registers: [this.registry],
  });

  readonly #leases = new Gauge({
    name: 'culvert_leases',
    help: 'Leases found at the last look, by network and state',
    labelNames: ['network', 'state'],
    registers: [this.registry],
  });
  readonly #leasesFreed = new Counter({
    name: 'culvert_leases_freed_total',
    help: 'Leaked leases that were freed, by network',
    labelNames: ['network'],
    registers: [this.registry],
  });
  readonly #poolSize = this.#poolGauge('culvert_pool_addresses', "Addresses of the node's podCIDRs that can be leased");
  readonly #poolTaken = this.#poolGauge('culvert_pool_leased_addresses', 'Those that are leased');

  constructor() {
    collectDefaultMetrics({ register: this.registry });
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name, help, registers: [this.registry] });
  }

  #poolGauge(name: string, help: string): Gauge {
    return new Gauge({ name, help, labelNames: ['family'], registers: [this.registry] });
  }

  /** All leases, and nothing else, as they stand. */
  leasesFound(leases: readonly Pick<JudgedLease, 'network' | 'state'>[]): void {
    this.#leases.reset();
    for (const network of new Set(leases.map((l) => l.network))) {
      for (const state of leaseStates) this.#leases.set({ network, state }, 0);
    }
    for (const { network, state } of leases) this.#leases.inc({ network, state });
  }

  leasesFreed(leases: readonly { network: string }[]): void {
    for (const { network } of leases) this.#leasesFreed.inc({ network });
  }

  poolsFound(pools: readonly { family: Family; size: bigint; taken: bigint }[]): void {
    this.pools = pools.map((p) => ({ family: `ipv${p.family}`, size: Number(p.size), leased: Number(p.taken) }));
    for (const { family, size, leased } of this.pools) {
      this.#poolSize.set({ family }, size);
      this.#poolTaken.set({ family }, leased);
    }
  }

  /** A pass is over. */
  passed(outlook: Outlook, nodes: number, seconds: number, isRepair: boolean): void {
    this.#nodes.set(nodes);
    this.#routes.set(outlook.plan.state.routes.length);
    this.#mtu.set(outlook.plan.mtuBytes);
    this.#narrow.set(outlook.plan.state.routes.filter((r) => r.mtuBytes !== undefined).length);
    for (const change of outlook.changes) this.#changes.inc({ op: change.op });
    if (isRepair) this.#repairs.inc(outlook.changes.length);
    this.#duration.observe(seconds);
  }

  succeeded(applied: Applied): void {
    this.ready = true;
    this.applied = applied;
    const { mode, alsoAccept } = applied.traffic;
    this.#mode.reset();
    this.#mode.set({ mode, state: 'carries' }, 1);
    if (alsoAccept) this.#mode.set({ mode: alsoAccept.mode, state: 'accepts' }, 1);
    this.#success.setToCurrentTime();
  }

  setProblems(problems: readonly string[], sourceOk: boolean): void {
    this.problems = problems;
    this.sourceOk = sourceOk;
    this.#problems.set(problems.length);
    this.#sourceOk.set(sourceOk ? 1 : 0);
  }
}

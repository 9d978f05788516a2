/** What the agent has to say about itself: metrics for Prometheus, problems for people. */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { BgpSession } from '../plan/bgp.ts';
import type { SessionStatus } from './bird-status.ts';
import type { Outlook } from './converge.ts';

export class Status {
  readonly registry = new Registry();
  /** The first pass that went through has been. */
  ready = false;
  /** All that is wrong at present, in words. */
  problems: readonly string[] = ['no pass has been made yet'];

  readonly #nodes = this.#gauge('culvert_nodes', 'Nodes in the cluster view, this one included');
  readonly #routes = this.#gauge('culvert_routes', 'Routes to podCIDRs of other nodes that are planned');
  readonly #mtu = this.#gauge('culvert_mtu_bytes', 'MTU of pods on this node');
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

  readonly #sessionUp = this.#sessionGauge('culvert_bgp_session_up', '1 when the BGP session is established, else 0');
  readonly #imported = this.#sessionGauge('culvert_bgp_prefixes_imported', 'Prefixes taken from the BGP peer');
  readonly #exported = this.#sessionGauge('culvert_bgp_prefixes_exported', 'Prefixes told to the BGP peer');

  constructor() {
    collectDefaultMetrics({ register: this.registry });
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name, help, registers: [this.registry] });
  }

  #sessionGauge(name: string, help: string): Gauge<'peer' | 'family'> {
    return new Gauge({ name, help, labelNames: ['peer', 'family'], registers: [this.registry] });
  }

  /** How the BGP sessions are; those that are no more leave the metrics. */
  setSessions(sessions: readonly BgpSession[], found: ReadonlyMap<string, SessionStatus>): void {
    for (const gauge of [this.#sessionUp, this.#imported, this.#exported]) gauge.reset();
    for (const { name, peer, family } of sessions) {
      const status = found.get(name);
      const labels = { peer, family: `ipv${family}` };
      this.#sessionUp.set(labels, status?.isUp ? 1 : 0);
      this.#imported.set(labels, status?.imported ?? 0);
      this.#exported.set(labels, status?.exported ?? 0);
    }
  }

  /** A pass is over. */
  passed(outlook: Outlook, nodes: number, seconds: number, isRepair: boolean): void {
    this.#nodes.set(nodes);
    this.#routes.set(outlook.plan.state.routes.length);
    this.#mtu.set(outlook.plan.mtuBytes);
    for (const change of outlook.changes) this.#changes.inc({ op: change.op });
    if (isRepair) this.#repairs.inc(outlook.changes.length);
    this.#duration.observe(seconds);
  }

  succeeded(): void {
    this.ready = true;
    this.#success.setToCurrentTime();
  }

  setProblems(problems: readonly string[], sourceOk: boolean): void {
    this.problems = problems;
    this.#problems.set(problems.length);
    this.#sourceOk.set(sourceOk ? 1 : 0);
  }
}

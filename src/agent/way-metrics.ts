/** Which ways pass and which carries, for Prometheus. */

import { Counter, Gauge, type Registry } from 'prom-client';
import type { WayMode } from '../plan/cluster.ts';
import type { WayStatus } from './ways.ts';

const labelNames = ['node', 'way'] as const;

export class WayMetrics {
  readonly #carries: Gauge<(typeof labelNames)[number]>;
  readonly #passes: Gauge<(typeof labelNames)[number]>;
  readonly #changes: Counter;

  constructor(registry: Registry) {
    const registers = [registry];
    const gauge = (name: string, help: string) => new Gauge({ name, help, labelNames, registers });
    this.#carries = gauge(
      'culvert_way_carries',
      "Mode auto: 1 where this way carries pods' packets to the node, else 0",
    );
    this.#passes = gauge(
      'culvert_way_passes',
      'Mode auto: 1 where packets of full size pass to the node this way, else 0',
    );
    this.#changes = new Counter({
      name: 'culvert_way_changes_total',
      help: 'Mode auto: how often another way was chosen',
      registers,
    });
  }

  /** Those that are no more go. */
  set(ways: readonly WayStatus[]): void {
    for (const gauge of [this.#carries, this.#passes]) gauge.reset();
    for (const { node, way: carrying, passing } of ways) {
      for (const way of Object.keys(passing) as WayMode[]) {
        this.#carries.set({ node, way }, way === carrying ? 1 : 0);
        this.#passes.set({ node, way }, passing[way] === 'full' ? 1 : 0);
      }
    }
  }

  changed(): void {
    this.#changes.inc();
  }
}

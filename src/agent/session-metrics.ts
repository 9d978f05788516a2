/** How BGP sessions are, for Prometheus. */

import { Gauge, type Registry } from 'prom-client';
import type { BgpSession } from '../plan/bird.ts';
import type { SessionStatus } from './bird-status.ts';

const labelNames = ['peer', 'family'] as const;

export class SessionMetrics {
  readonly #up: Gauge<(typeof labelNames)[number]>;
  readonly #imported: Gauge<(typeof labelNames)[number]>;
  readonly #exported: Gauge<(typeof labelNames)[number]>;

  constructor(registry: Registry) {
    const gauge = (name: string, help: string) => new Gauge({ name, help, labelNames, registers: [registry] });
    this.#up = gauge('culvert_bgp_session_up', '1 when the BGP session is established, else 0');
    this.#imported = gauge('culvert_bgp_prefixes_imported', 'Prefixes taken from the BGP peer');
    this.#exported = gauge('culvert_bgp_prefixes_exported', 'Prefixes told to the BGP peer');
  }

  /** Those that are no more go. */
  set(sessions: readonly BgpSession[], found: ReadonlyMap<string, SessionStatus>): void {
    for (const gauge of [this.#up, this.#imported, this.#exported]) gauge.reset();
    for (const { name, peer, family } of sessions) {
      const status = found.get(name);
      const labels = { peer, family: `ipv${family}` };
      this.#up.set(labels, status?.isUp ? 1 : 0);
      this.#imported.set(labels, status?.imported ?? 0);
      this.#exported.set(labels, status?.exported ?? 0);
    }
  }
}

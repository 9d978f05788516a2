/** A route of a container, as the CNI specification has it (section 5, "routes"). */

import type { Address } from './address.ts';
import type { Prefix } from './prefix.ts';

/** `gw` absent: the gateway of the family's address. `scope` is 0 (global), 253 (link) or 254 (host). */
export interface Route {
  dst: Prefix;
  gw?: Address;
  mtu?: number;
  advmss?: number;
  priority?: number;
  table?: number;
  scope?: number;
}

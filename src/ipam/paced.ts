/** Long work in pieces: the process goes on with whatever else it does, as an agent with its reconciling. */

import { setImmediate } from 'node:timers/promises';

/** So many leases are read or freed in a row: some ten milliseconds. */
export const atOnce = 200;

/** Items one after another; after every so many, all that waits has its turn. */
export async function* paced<T>(items: Iterable<T>): AsyncGenerator<T> {
  let left = atOnce;
  for (const item of items) {
    if (left-- === 0) {
      await setImmediate();
      left = atOnce - 1;
    }
    yield item;
  }
}

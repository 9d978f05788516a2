/**
 * Gives memory back. The agent idles nearly always, and V8 collects garbage when it needs room, not when there is time:
 * 5,000 nodes read once would keep three times the memory that they need.
 */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collect = (options: { type: 'major'; flavor: 'last-resort' }) => void;

/**
 * Changes come in rows. One that meets the collection waits for it, and the next has code to compile again that was collected too: only
 * when none came for so long.
 */
export const idleMs = 10_000;
/** Less garbage than this is left to V8. */
const worthwhileBytes = 8 << 20;

let collect: Collect | undefined;
let timer: NodeJS.Timeout | undefined;
let keptBytes = 0;

function collectNow(): void {
  if (process.memoryUsage().heapUsed - keptBytes < worthwhileBytes) return;
  if (!collect) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as Collect;
  }
  // the flavour that hands pages back to the kernel: twice all of the heap, 0.2 s with 5,000 nodes
  collect({ type: 'major', flavor: 'last-resort' });
  keptBytes = process.memoryUsage().heapUsed;
}

/** To be called after work: collects once there has been none for a while. */
export function collectWhenIdle(): void {
  clearTimeout(timer);
  timer = setTimeout(collectNow, idleMs).unref();
}

/**
 * A lock that no killed process can leave behind: a Unix socket of an abstract name (unix(7)), which the kernel gives to one
 * process at a time and takes back when that ends. It holds among the processes of one network namespace.
 */

import { statSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { StoreError } from '../errors.ts';

const patienceMs = 10_000;

/** Takes a name, until the answer is closed or this process ends. Undefined when another has it. */
export function takeName(name: string): Promise<Server | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<Server | undefined>();
  const server = createServer((peer) => peer.destroy());
  server.once('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EADDRINUSE') resolve(undefined);
    else reject(new StoreError('io', `cannot lock: ${error.message}`, { cause: error }));
  });
  server.listen(`\0culvert:${name}`, () => resolve(server));
  return promise;
}

/** Does the work while nobody else does any under this name. Throws StoreError `locked` when it is not free in time. */
async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  const started = performance.now();
  let server: Server | undefined;
  while (!server) {
    server = await takeName(name);
    if (server) break;
    if (performance.now() - started > patienceMs) {
      throw new StoreError('locked', `"${name}" was not free for ${patienceMs} ms: another plugin is at work there`);
    }
    await sleep(5);
  }
  try {
    return await work();
  } finally {
    server.close();
  }
}

/** Work on a network namespace that looks before it changes something: one after the other. */
export function aloneIn<T>(netns: string, work: () => Promise<T>): Promise<T> {
  const { dev, ino } = statSync(netns);
  return withLock(`netns:${dev}:${ino}`, work);
}

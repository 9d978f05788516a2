/**
 * Plugins in a process that is there already: a pod is spared the start of Node, which is most of what a plugin costs. Every execution has
 * a machine of its own, as it would have in a process of its own, and nothing stays of it. What comes in by the socket comes from
 * a process of the same namespaces and of root's: it sees the same files, and may do the same.
 */

import { mkdirSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { type Plugin, runPlugin } from '../cni/skel.ts';
import { takeName } from '../kernel/lock.ts';
import { createMachine, type Machine } from '../kernel/machine.ts';
import { type Answer, decline, type Execution, formatAnswer, formatGreeting, parseExecution } from './wire.ts';

/** Where programs of our namespaces look for us, and for whether we are wanted: `shim.c` knows the names. */
const folder = '/run/culvert/serve';

export const wantedName = 'wanted';
export const wantedFile = join(folder, wantedName);

/** The socket's, for our own namespaces or with the network namespace at another path. */
export function socketPath(netns = '/proc/self/ns/net'): string {
  const paths = [netns, '/proc/self/ns/mnt', '/proc/self/ns/pid', '/'];
  return join(folder, paths.map((path) => statSync(path).ino).join('-'));
}

/**
 * Paths of a namespace that mean another one to us than to who named it (/proc/self), and those for which a descriptor would have to be
 * kept open (src/apply/veth.ts).
 */
const canName = (netns: string): boolean =>
  /^[\w./-]*$/.test(netns) && !/^\/(?:proc\/(?:self|thread-self)|dev)\//.test(netns);

export interface ServeParts {
  readonly plugins: ReadonlyMap<string, Plugin<Machine>>;
  readonly build: string;
  /** So many executions at a time; those that come meanwhile wait. */
  readonly width: number;
  readonly path: string;
  /** Told of what no plugin should throw. */
  readonly failed: (error: unknown) => void;
}

export class Serve {
  readonly #parts: ServeParts;
  readonly #server: Server;
  #name: Server | undefined;
  /** To those that have not said yet what to do. */
  readonly #listening = new Set<Socket>();
  /** The newest execution of each attachment, while it is not done. */
  readonly #newest = new Map<string, Promise<unknown>>();
  readonly #waiting: (() => void)[] = [];
  #atWork = 0;

  constructor(parts: ServeParts) {
    this.#parts = parts;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  /** Throws when another answers there already. */
  async listen(): Promise<void> {
    const { path } = this.#parts;
    this.#name = await takeName(`serve:${basename(path)}`);
    if (!this.#name) throw new Error(`another culvert serve answers in these namespaces (${path})`);
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    rmSync(path, { force: true }); // of one that was killed
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once('error', reject);
    this.#server.listen(path, resolve);
    await promise;
  }

  /** Takes no more, and resolves when all that was begun has been answered. Who has not said yet what to do does it itself. */
  async close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    for (const socket of this.#listening) socket.end(decline, () => socket.destroy());
    await promise;
    this.#name?.close();
  }

  #accept(socket: Socket): void {
    let received: Buffer = Buffer.alloc(0);
    const gone = new AbortController();
    this.#listening.add(socket);
    socket.on('error', () => {}); // 'close' follows
    socket.on('close', () => {
      this.#listening.delete(socket);
      gone.abort();
    });
    socket.on('end', () => {
      gone.abort(); // it has nothing to say after its execution: it was killed
      if (this.#listening.has(socket)) socket.destroy();
    });
    socket.on('data', (chunk: Buffer) => {
      if (!this.#listening.has(socket)) return;
      received = Buffer.concat([received, chunk]);
      try {
        const execution = parseExecution(received);
        if (!execution) return;
        this.#listening.delete(socket);
        this.#answer(execution, gone.signal).then(
          (text) => socket.end(text),
          (error: unknown) => {
            this.#parts.failed(error);
            socket.destroy();
          },
        );
      } catch {
        socket.destroy();
      }
    });
    socket.write(formatGreeting(this.#parts.build));
  }

  async #answer(execution: Execution, gone: AbortSignal): Promise<string> {
    const { name, env } = execution;
    const plugin = this.#parts.plugins.get(name);
    if (!plugin || !canName(env['CNI_NETNS'] ?? '')) return decline;
    const work = () =>
      this.#inTurn(async () => (gone.aborted ? decline : formatAnswer(await execute(plugin, execution))));
    const { CNI_CONTAINERID: id, CNI_IFNAME: ifname } = env;
    return id ? this.#afterEarlier(`${id} ${ifname}`, work) : work();
  }

  /**
   * A runtime that kills an ADD calls DEL, and takes the ADD for ended, which with a process of its own it would be. Here it goes on, and
   * must be done when DEL begins.
   */
  async #afterEarlier<T>(attachment: string, work: () => Promise<T>): Promise<T> {
    const earlier = this.#newest.get(attachment);
    const done = earlier ? earlier.then(work, work) : work();
    this.#newest.set(attachment, done);
    try {
      return await done;
    } finally {
      if (this.#newest.get(attachment) === done) this.#newest.delete(attachment);
    }
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#atWork >= this.#parts.width) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#atWork++;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift(); // takes our place
      if (next) next();
      else this.#atWork--;
    }
  }
}

async function execute(plugin: Plugin<Machine>, { env, input }: Execution): Promise<Answer> {
  const said = { stdout: '', stderr: '' };
  const stderr = (text: string): void => {
    said.stderr += text;
  };
  const stdout = (text: string): void => {
    said.stdout += text;
  };
  const machine = createMachine(env, stderr);
  try {
    return { exitCode: await runPlugin(plugin, machine, { env, readStdin: () => input, stdout, stderr }), ...said };
  } finally {
    machine.kernel.standBy([]); // those that stood by for nothing
  }
}

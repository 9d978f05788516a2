/**
 * The line to a machine's agent: scripts in, exit codes and output out, over the socket that is the other end of its virtio
 * port. guest/agent is the other side.
 */

import { createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

export interface Ran {
  exitCode: number;
  stdout: string;
  stderr: string;
}

const decode = (word: string): string => Buffer.from(word.slice(1), 'base64').toString();

/** qemu connects to it; made before qemu starts. */
export class Control {
  readonly #server: Server;
  readonly #waiting = new Map<string, { resolve: (ran: Ran) => void; reject: (error: Error) => void }>();
  readonly #ready = Promise.withResolvers<string>();
  #socket: Socket | undefined;
  #lost: Error | undefined;
  #next = 0;

  private constructor(server: Server) {
    this.#server = server;
    this.#ready.promise.catch(() => {}); // whoever waits for it hears of it
    server.once('connection', (socket) => {
      this.#socket = socket;
      socket.on('error', () => {});
      createInterface({ input: socket }).on('line', (line) => this.#hear(line));
    });
  }

  static async listen(path: string): Promise<Control> {
    const server = createServer();
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
    return new Control(server);
  }

  /** The kernel's release, once the agent has said that it listens. */
  get ready(): Promise<string> {
    return this.#ready.promise;
  }

  #hear(line: string): void {
    const words = line.split(' ');
    if (words[0] === 'ready') {
      this.#ready.resolve(words[1]!);
      return;
    }
    const [id, exitCode, stdout, stderr] = words as [string, string, string, string];
    this.#waiting.get(id)?.resolve({ exitCode: Number(exitCode), stdout: decode(stdout), stderr: decode(stderr) });
    this.#waiting.delete(id);
  }

  /** Runs a bash script as root; any exit code is an answer. Rejects when the machine goes before it has answered. */
  run(script: string): Promise<Ran> {
    if (this.#lost) return Promise.reject(this.#lost);
    const id = String(this.#next++);
    const { promise, resolve, reject } = Promise.withResolvers<Ran>();
    this.#waiting.set(id, { resolve, reject });
    this.#socket!.write(`${id} ${Buffer.from(script).toString('base64')}\n`);
    return promise;
  }

  /** The machine is gone: whoever waits for it is told so. */
  close(reason: Error): void {
    this.#lost ??= reason;
    this.#ready.reject(reason);
    for (const { reject } of this.#waiting.values()) reject(reason);
    this.#waiting.clear();
    this.#socket?.destroy();
    this.#server.close();
  }
}

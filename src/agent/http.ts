/** /healthz (the process answers), /readyz (the host was made as planned once; what is wrong now), /metrics (Prometheus). */

import { createServer, type ServerResponse } from 'node:http';
import { parseListen } from './config.ts';
import type { Status } from './status.ts';
import type { Task } from './task.ts';

function send(response: ServerResponse, code: number, type: string, body: string): void {
  response.writeHead(code, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

export class HttpServer implements Task {
  readonly name = 'http';
  readonly #listen: string;
  readonly #status: Status;
  readonly #tasks: readonly Task[];
  #listening = false;

  /** `tasks` are those whose readiness counts. */
  constructor(listen: string, status: Status, tasks: readonly Task[]) {
    this.#listen = listen;
    this.#status = status;
    this.#tasks = tasks;
  }

  notReady(): string | undefined {
    return this.#listening ? undefined : 'the HTTP server does not listen yet';
  }

  async run(signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const server = createServer((request, response) => void this.#answer(request.url ?? '/', response));
    server.on('error', (error) => reject(new Error(`listen: cannot serve on ${this.#listen}: ${error.message}`)));
    server.listen(parseListen(this.#listen), () => {
      this.#listening = true;
    });
    signal.addEventListener('abort', () => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
    await promise;
  }

  async #answer(url: string, response: ServerResponse): Promise<void> {
    switch (new URL(url, 'http://agent').pathname) {
      case '/healthz':
        return send(response, 200, 'text/plain', 'ok\n');
      case '/readyz': {
        const reasons = this.#tasks.flatMap((t) => t.notReady() ?? []);
        const body = { ready: reasons.length === 0, reasons, problems: this.#status.problems };
        return send(response, body.ready ? 200 : 503, 'application/json', `${JSON.stringify(body)}\n`);
      }
      case '/metrics':
        return send(response, 200, this.#status.registry.contentType, await this.#status.registry.metrics());
      default:
        return send(response, 404, 'text/plain', 'known are /healthz, /readyz and /metrics\n');
    }
  }
}

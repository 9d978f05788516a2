/** /healthz (the process answers), /readyz (the host was made as planned once; what is wrong now), /status (what it was made as), /metrics (Prometheus). */

import { createServer, type ServerResponse } from 'node:http';
import { parseListen } from './config.ts';
import type { Prober } from './probe.ts';
import type { NodeStatus, Status } from './status.ts';
import type { Task } from './task.ts';
import type { Ways } from './ways.ts';

function send(response: ServerResponse, code: number, type: string, body: string): void {
  response.writeHead(code, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

export interface HttpParts {
  readonly listen: string;
  readonly status: Status;
  readonly prober: Prober;
  readonly ways: Ways;
  /** Those whose readiness counts. */
  readonly tasks: readonly Task[];
}

export class HttpServer implements Task {
  readonly name = 'http';
  readonly #parts: HttpParts;
  #listening = false;

  constructor(parts: HttpParts) {
    this.#parts = parts;
  }

  notReady(): string | undefined {
    return this.#listening ? undefined : 'the HTTP server does not listen yet';
  }

  async run(signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const server = createServer((request, response) => void this.#answer(request.url ?? '/', response));
    server.on('error', (error) => reject(new Error(`listen: cannot serve on ${this.#parts.listen}: ${error.message}`)));
    const { host, port } = parseListen(this.#parts.listen)!;
    // without a host Node takes [::], and 0.0.0.0 where the kernel has no IPv6
    server.listen(host === '::' ? { port } : { host, port }, () => {
      this.#listening = true;
    });
    signal.addEventListener('abort', () => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
    await promise;
  }

  async #answer(url: string, response: ServerResponse): Promise<void> {
    const { status, prober, ways, tasks } = this.#parts;
    switch (new URL(url, 'http://agent').pathname) {
      case '/healthz':
        return send(response, 200, 'text/plain', 'ok\n');
      case '/readyz': {
        const reasons = tasks.flatMap((t) => t.notReady() ?? []);
        const body = { ready: reasons.length === 0, reasons, problems: status.problems };
        return send(response, body.ready ? 200 : 503, 'application/json', `${JSON.stringify(body)}\n`);
      }
      case '/status': {
        const { applied, problems, sourceOk, pools } = status;
        if (!applied) return send(response, 503, 'application/json', `${JSON.stringify({ problems })}\n`);
        const unanswered = [...applied.unanswered, ...prober.unanswered, ...ways.unanswered(applied.traffic)];
        const body: NodeStatus = { ...applied, sourceOk, pools, unanswered, ways: ways.status, problems };
        return send(response, 200, 'application/json', `${JSON.stringify(body)}\n`);
      }
      case '/metrics':
        return send(response, 200, status.registry.contentType, await status.registry.metrics());
      default:
        return send(response, 404, 'text/plain', 'known are /healthz, /readyz, /status and /metrics\n');
    }
  }
}

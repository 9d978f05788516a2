/** Requests to a Kubernetes API server. Who we are is asked anew for each. */

import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { text } from 'node:stream/consumers';
import type { Login } from './login.ts';

/** An answer that is no success. */
export class ApiError extends Error {
  readonly status: number;
  /** The whole of it. */
  readonly body: string;

  constructor(status: number, message: string, body = '') {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.body = body;
  }
}

/** A resourceVersion that the server has forgotten. */
export const isExpired = (error: unknown): boolean => error instanceof ApiError && error.status === 410;

/** A refused connection to a name with several addresses is an error without a message of its own. */
export const said = (error: Error): string =>
  error.message || (error as AggregateError).errors?.map((e: Error) => e.message).join(', ') || error.name;

export interface Call {
  readonly method?: 'GET' | 'POST' | 'PATCH';
  readonly body?: object;
  readonly signal?: AbortSignal;
  /** How long nothing more may come of an answer that has begun. */
  readonly idleMs?: number;
}

/** So long an answer may be in coming. A server that starts takes connections before it can answer, and may never answer those. */
const headMs = 10_000;

const contentType = { GET: '', POST: 'application/json', PATCH: 'application/merge-patch+json' } as const;

/** The message of a Status object. */
function messageOf(body: string): string {
  try {
    return (JSON.parse(body) as { message?: string }).message || body;
  } catch {
    return body.trim().slice(0, 200);
  }
}

export class Api {
  readonly #login: Login;
  readonly #agentName: string;
  /** Where the last request went. */
  server = '';

  /** `agentName` is what the API server's log calls us. */
  constructor(login: Login, agentName: string) {
    this.#login = login;
    this.#agentName = agentName;
  }

  /** The answer's stream, once its head is there. Throws ApiError, or what the network said. */
  async call(path: string, { method = 'GET', body, signal, idleMs = headMs }: Call = {}): Promise<IncomingMessage> {
    const { server, options } = await this.#login();
    this.server = server;
    const url = new URL(this.server.replace(/\/$/, '') + path);
    const headers = {
      ...options.headers,
      accept: 'application/json',
      'user-agent': this.#agentName,
      ...(body && { 'content-type': contentType[method] }),
    };
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const send = url.protocol === 'http:' ? requestHttp : requestHttps;
    const request = send(url, { ...options, method, headers, timeout: headMs, ...(signal && { signal }) }, resolve);
    let limitMs = headMs;
    request.on('timeout', () => request.destroy(new Error(`nothing came for ${limitMs / 1000} s`)));
    request.on('error', reject);
    request.end(body && JSON.stringify(body));
    const answer = await promise;
    limitMs = idleMs;
    request.setTimeout(idleMs);
    const { statusCode = 0 } = answer;
    if (statusCode >= 200 && statusCode < 300) return answer;
    const said = await text(answer);
    throw new ApiError(statusCode, `HTTP ${statusCode}: ${messageOf(said)}`, said);
  }

  /** The object in the answer; of a write that is what there is now. */
  async object<T>(path: string, call?: Call): Promise<T> {
    return JSON.parse(await text(await this.call(path, call))) as T;
  }
}

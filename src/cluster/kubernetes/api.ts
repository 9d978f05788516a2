/** Requests to a Kubernetes API server. Who we are is read anew for each: tokens, certificates and kubeconfigs are replaced while we run. */

import { readFileSync } from 'node:fs';
import { type IncomingMessage, request as requestHttp } from 'node:http';
import { type RequestOptions, request as requestHttps } from 'node:https';
import { dirname, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import type { KubeConfig } from '@kubernetes/client-node';
import { isObject } from '../../decode.ts';
import { ConfigError } from '../../errors.ts';
import { parseYaml } from '../document.ts';

/** An answer that is no success. */
export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
  }
}

/** A resourceVersion that the server has forgotten. */
export const isExpired = (error: unknown): boolean => error instanceof ApiError && error.status === 410;

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

/** `tokenFile` of a kubeconfig's user, which the library does not know. */
function takeTokenFile(config: KubeConfig, file: string): void {
  const user = config.getCurrentUser();
  const document = parseYaml(readFileSync(file, 'utf8'), file);
  const users: unknown[] = isObject(document) && Array.isArray(document['users']) ? document['users'] : [];
  const entry = users.find((u) => isObject(u) && u['name'] === user?.name) as
    | { user?: { tokenFile?: string } }
    | undefined;
  const tokenFile = entry?.user?.tokenFile;
  if (user && tokenFile) Object.assign(user, { token: readFileSync(resolve(dirname(file), tokenFile), 'utf8').trim() });
}

export class Api {
  readonly #kubeconfig: string | undefined;
  /** Where the last request went. */
  server = '';

  /** With a kubeconfig's file, else as the pod's service account. */
  constructor(kubeconfig: string | undefined) {
    this.#kubeconfig = kubeconfig;
  }

  async #target(): Promise<RequestOptions> {
    const { KubeConfig } = await import('./library.ts');
    const config = new KubeConfig();
    const wrong = (got: string, want: string) => new ConfigError([{ path: 'cluster.kubeconfig', got, want }]);
    if (this.#kubeconfig !== undefined) {
      try {
        config.loadFromFile(this.#kubeconfig);
        takeTokenFile(config, this.#kubeconfig);
      } catch (error) {
        throw wrong((error as Error).message, 'a readable kubeconfig');
      }
    } else if (process.env['KUBERNETES_SERVICE_HOST']) {
      config.loadFromCluster();
    } else {
      throw wrong('nothing', 'a kubeconfig, for this is no pod: KUBERNETES_SERVICE_HOST is not set');
    }
    const cluster = config.getCurrentCluster();
    if (!cluster)
      throw wrong(
        `"${this.#kubeconfig}" without a current context`,
        'a kubeconfig whose current-context names a cluster',
      );
    this.server = cluster.server;
    const options: RequestOptions = {};
    await config.applyToHTTPSOptions(options);
    // the library's agent keeps the certificates that it began with; Node's own tells connections apart by theirs
    if (!cluster.proxyUrl) delete options.agent;
    return options;
  }

  /** The answer's stream, once its head is there. Throws ApiError, or what the network said. */
  async call(path: string, { method = 'GET', body, signal, idleMs = headMs }: Call = {}): Promise<IncomingMessage> {
    const options = await this.#target();
    const url = new URL(this.server.replace(/\/$/, '') + path);
    const headers = {
      ...options.headers,
      accept: 'application/json',
      'user-agent': 'culvert-agent',
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
    throw new ApiError(statusCode, `HTTP ${statusCode}: ${messageOf(await text(answer))}`);
  }

  /** The object in the answer; of a write that is what there is now. */
  async object<T>(path: string, call?: Call): Promise<T> {
    return JSON.parse(await text(await this.call(path, call))) as T;
  }
}

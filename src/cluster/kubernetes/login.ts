/** Where the API server is and who we are there: from a kubeconfig, as kubectl finds it, or as a pod's service account. */

import { existsSync, readFileSync } from 'node:fs';
import type { RequestOptions } from 'node:https';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';
import { isObject } from '../../decode.ts';
import { ConfigError } from '../../errors.ts';
import { parseYaml } from '../document.ts';

export interface Target {
  /** Its URL. */
  readonly server: string;
  /** Certificates and headers of a request to it. */
  readonly options: RequestOptions;
}

/** Asked before each request. Throws ConfigError. */
export type Login = () => Promise<Target>;

const wrong = (path: string, got: string, want: string) => new ConfigError([{ path, got, want }]);

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

const defaultFile = join(homedir(), '.kube/config');

/** As kubectl merges them: the first that says a thing is right. */
function load(config: KubeConfig, other: () => KubeConfig, files: readonly string[], context?: string): void {
  const [first, ...more] = files;
  config.loadFromFile(first!);
  for (const file of more) {
    const next = other();
    next.loadFromFile(file);
    config.mergeConfig(next, Boolean(config.getCurrentContext()));
  }
  if (context !== undefined) config.setCurrentContext(context);
  for (const file of files) takeTokenFile(config, file);
}

/** From files, else as the pod's service account. `path` is what names the files, for errors. */
async function targetOf(files: readonly string[], path: string, context?: string): Promise<Target> {
  const { KubeConfig } = await import('./library.ts');
  const config = new KubeConfig();
  if (files.length > 0) {
    try {
      load(config, () => new KubeConfig(), files, context);
    } catch (error) {
      throw wrong(path, (error as Error).message, 'a readable kubeconfig');
    }
  } else if (process.env['KUBERNETES_SERVICE_HOST']) {
    config.loadFromCluster();
  } else {
    throw wrong(path, 'nothing', 'a kubeconfig, for this is no pod: KUBERNETES_SERVICE_HOST is not set');
  }
  const cluster = config.getCurrentCluster();
  if (!cluster) {
    const contexts = config.getContexts().map((c) => c.name);
    const known = contexts.length > 0 ? `; contexts: ${contexts.join(', ')}` : '';
    throw context === undefined
      ? wrong(path, `"${files.join(':')}" without a current context`, `one that names a cluster${known}`)
      : wrong('--context', `"${context}"`, `a context of ${files.join(':')} that names a cluster${known}`);
  }
  const options: RequestOptions = {};
  await config.applyToHTTPSOptions(options);
  // the library's agent keeps the certificates that it began with; Node's own tells connections apart by theirs
  if (!cluster.proxyUrl) delete options.agent;
  return { server: cluster.server, options };
}

/** With a kubeconfig's file, else as the pod's service account; read anew each time, for they are replaced while we run. */
export const agentLogin =
  (kubeconfig: string | undefined): Login =>
  () =>
    targetOf(kubeconfig === undefined ? [] : [kubeconfig], 'cluster.kubeconfig');

/**
 * As kubectl: a named file, else the files of the variable KUBECONFIG, else ~/.kube/config, else the pod's service account. Once
 * for all requests: a program that gives tokens out takes its time.
 */
export function kubectlLogin(kubeconfig: string | undefined, context: string | undefined): Login {
  let target: Promise<Target> | undefined;
  const listed = (process.env['KUBECONFIG'] ?? '').split(':').filter((file) => file !== '');
  const there = [...(listed.length > 0 ? listed : [defaultFile])].filter((file) => existsSync(file));
  return () => {
    target ??= targetOf(
      kubeconfig === undefined ? there : [kubeconfig],
      kubeconfig === undefined ? 'KUBECONFIG' : '--kubeconfig',
      context,
    );
    return target;
  };
}

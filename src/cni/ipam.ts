/**
 * IPAM as an interface plugin sees it: the type its configuration names, found on CNI_PATH. When that is this very executable
 * its verbs are called in-process, which saves a pod the start of a second process; anybody else's plugin is executed.
 */

import { isObject, show } from '../decode.ts';
import { CniError, ConfigError } from '../errors.ts';
import { delegate, delegateAdd, findPlugin, isOwn, type Stderr } from './delegate.ts';
import { code } from './error.ts';
import type { Plugin } from './skel.ts';
import type { Request, Result } from './types.ts';

export interface Ipam {
  /** It is a plugin of this executable. */
  readonly own: boolean;
  add(): Promise<Result>;
  /** The request's own verb, whatever it is but ADD. */
  forward(): Promise<void>;
  /** DEL on behalf of an ADD that failed later on. */
  undo(): Promise<void>;
}

/** `ipam.type`; undefined when the configuration has none (a layer 2 attachment). Throws ConfigError. */
export function ipamType(request: Request): string | undefined {
  const ipam = request.conf['ipam'] ?? undefined;
  if (ipam === undefined) return undefined;
  if (!isObject(ipam)) throw new ConfigError([{ path: 'ipam', got: show(ipam), want: 'an object' }]);
  const type = ipam['type'] ?? '';
  if (typeof type !== 'string') {
    throw new ConfigError([{ path: 'ipam.type', got: show(type), want: 'the name of an IPAM plugin' }]);
  }
  return type === '' ? undefined : type;
}

/** The IPAM plugin of a type; `plugins` are those that can be called in-process. Throws CniError when it is not found, ConfigError when it gives no addresses. */
export function openIpam<Host extends { readonly executable: string; readonly stderr: Stderr }>(
  type: string,
  request: Request,
  host: Host,
  plugins: readonly Plugin<Host>[],
): Ipam {
  const file = findPlugin(type, request);
  const own = isOwn(file, host.executable);
  const plugin = own ? plugins.find((p) => p.name === type) : undefined;
  if (own && !plugin) {
    // executed with this configuration it would ask for its addresses in the same way, and so on without end
    const want = `an IPAM plugin such as ${plugins.map((p) => `"${p.name}"`).join(' or ')}`;
    throw new ConfigError([{ path: 'ipam.type', got: show(type), want }]);
  }
  if (plugin) {
    return {
      own: true,
      add: () => plugin.add({ ...request, command: 'ADD' }, host),
      forward: () => callOther(plugin, request, host),
      undo: () => plugin.del({ ...request, command: 'DEL' }, host),
    };
  }
  return {
    own: false,
    add: () => delegateAdd(file, request, host.stderr),
    forward: () => delegate(file, request, host.stderr),
    undo: () => delegate(file, { ...request, command: 'DEL' }, host.stderr),
  };
}

function callOther<Host>(plugin: Plugin<Host>, request: Request, host: Host): Promise<void> {
  switch (request.command) {
    case 'DEL':
      return plugin.del(request, host);
    case 'CHECK':
      return plugin.check(request, host);
    case 'GC':
      return plugin.gc(request, host);
    case 'STATUS':
      return plugin.status(request, host);
    case 'ADD':
      throw new CniError(code.internal, 'ADD is not forwarded: it has a result');
    default:
      return request.command satisfies never;
  }
}

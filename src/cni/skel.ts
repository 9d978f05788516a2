/**
 * One plugin execution from end to end: environment and standard input → a request → the plugin's verb → standard output and
 * exit code. Everything it touches arrives in `Io`, so that the protocol is tested without processes. Nothing but a result or
 * an error object is ever written to standard output (spec section 2, "Errors").
 */

import { statSync } from 'node:fs';
import { CniError } from '../errors.ts';
import { netnsState } from '../kernel/netns.ts';
import { confVersion, parseConf, readConf } from './conf.ts';
import { type Environment, readParameters } from './env.ts';
import { code, encodeError, toCniError } from './error.ts';
import type { Request, Result } from './types.ts';
import { encodeResult, isSupported, newestVersion, supportedVersions } from './version.ts';

/** A plugin: its verbs are functions of the request and the host it runs on, free of process state. */
export interface Plugin<Host> {
  /** File name, link name and configuration `type`. */
  readonly name: string;
  /** One sentence for people who start it by hand. */
  readonly about: string;
  /** Works on what an earlier plugin of the list made, so that its ADD needs a prevResult. */
  readonly chained?: boolean;
  /**
   * Reads its configuration as ADD does, and does no more: `culvert validate` and `culvert plugins` know its keys from here.
   * `notes` takes remarks on keys. Throws ConfigError with every wrong field, CniError for what the plugin refuses.
   */
  decode(request: Request, notes?: string[]): unknown;
  add(request: Request, host: Host): Promise<Result>;
  del(request: Request, host: Host): Promise<void>;
  check(request: Request, host: Host): Promise<void>;
  gc(request: Request, host: Host): Promise<void>;
  status(request: Request, host: Host): Promise<void>;
}

export interface Io {
  env: Environment;
  /** All of standard input. */
  readStdin(): string;
  stdout(text: string): void;
  stderr(text: string): void;
}

/** Whether CNI_NETNS is the very namespace this process runs in: configuring it would configure the host. */
function isOwnNamespace(netns: string): boolean {
  const own = statSync('/proc/self/ns/net', { throwIfNoEntry: false });
  try {
    const theirs = statSync(netns, { throwIfNoEntry: false });
    return own !== undefined && theirs !== undefined && own.ino === theirs.ino && own.dev === theirs.dev;
  } catch {
    return false; // not a path that can be looked at, so not ours; the verb says what is wrong with it
  }
}

function refuseOwnNamespace(request: Request): void {
  const override = request.env['CNI_NETNS_OVERRIDE'] ?? '';
  if (override.toUpperCase() === 'TRUE' || override === '1' || request.netns === '') return;
  if (!isOwnNamespace(request.netns)) return;
  throw new CniError(
    code.invalidNetns,
    "plugin's netns and netns from CNI_NETNS should not be the same",
    `CNI_NETNS is "${request.netns}"`,
  );
}

/**
 * For plugins that configure the container's namespace. Throws CniError: 4 for ADD into no namespace, the caller's mistake; 3
 * for CHECK of a container that is gone.
 */
export function requireNetns(request: Request): void {
  const state = netnsState(request.netns);
  if (state === 'namespace') return;
  const message = `CNI_NETNS: "${request.netns}" ${state === 'absent' ? 'does not exist' : 'is not a network namespace'}`;
  throw new CniError(request.command === 'CHECK' ? code.unknownContainer : code.invalidEnvironment, message);
}

/** VERSION echoes the version it was asked in (spec section 5, "VERSION Success"). */
function versionAnswer(io: Io): string {
  let asked = newestVersion;
  try {
    const conf = parseConf(io.readStdin());
    if (conf['cniVersion']) asked = confVersion(conf);
  } catch {
    // asked without a document, as by hand: answer in the newest version
  }
  return JSON.stringify({ cniVersion: isSupported(asked) ? asked : newestVersion, supportedVersions });
}

/** Standard input. Throws CniError 5. */
function readAll(io: Io): string {
  try {
    return io.readStdin();
  } catch (error) {
    throw new CniError(
      code.io,
      `cannot read the network configuration from standard input: ${(error as Error).message}`,
      '',
      { cause: error },
    );
  }
}

async function dispatch<Host>(plugin: Plugin<Host>, request: Request, host: Host): Promise<string> {
  switch (request.command) {
    case 'ADD':
      refuseOwnNamespace(request);
      return JSON.stringify(encodeResult(await plugin.add(request, host), request.cniVersion), null, 2);
    case 'DEL':
      refuseOwnNamespace(request);
      await plugin.del(request, host);
      return '';
    case 'CHECK':
      await plugin.check(request, host);
      return '';
    case 'GC':
      await plugin.gc(request, host);
      return '';
    case 'STATUS':
      await plugin.status(request, host);
      return '';
    default:
      return request.command satisfies never;
  }
}

/** Runs one execution and answers the exit code: 0, or 1 with an error object on standard output. */
export async function runPlugin<Host>(plugin: Plugin<Host>, host: Host, io: Io): Promise<number> {
  let cniVersion: string = newestVersion;
  try {
    if (!io.env['CNI_COMMAND']) {
      io.stderr(
        `culvert ${plugin.name}: ${plugin.about}\nCNI protocol versions supported: ${supportedVersions.join(', ')}\n`,
      );
      io.stderr('A container runtime runs it with CNI_COMMAND set and a network configuration on standard input.\n');
      return 0;
    }
    const parameters = readParameters(io.env);
    if (parameters.command === 'VERSION') {
      io.stdout(`${versionAnswer(io)}\n`);
      return 0;
    }
    const stdin = readAll(io);
    const conf = readConf(stdin, parameters.command);
    cniVersion = conf.cniVersion;
    const request: Request = { ...parameters, command: parameters.command, ...conf, stdin, env: io.env };
    const answer = await dispatch(plugin, request, host);
    if (answer !== '') io.stdout(`${answer}\n`);
    return 0;
  } catch (caught) {
    const error = toCniError(caught);
    if (error.code === code.internal && caught instanceof Error) io.stderr(`${caught.stack}\n`);
    io.stdout(`${JSON.stringify(encodeError(error, cniVersion))}\n`);
    return 1;
  }
}

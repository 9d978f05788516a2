/** `culvert agent`: configuration → tasks, run until a signal. Ending leaves the data path as it is. */

import { parseArgs } from 'node:util';
import type { ClusterSource } from '../cluster/file.ts';
import { KubernetesSource } from '../cluster/kubernetes/source.ts';
import { type Command, exitCode, UsageError } from '../command.ts';
import { ConfigError } from '../errors.ts';
import { createExec } from '../kernel/exec.ts';
import { createKernel } from '../kernel/kernel.ts';
import { mainFile } from '../kernel/own.ts';
import { standBy } from '../kernel/standby.ts';
import { createWorkers } from '../kernel/workers.ts';
import { podCidrSets } from '../net/range.ts';
import { AddressWatch } from './address-watch.ts';
import { type AgentConfig, parseListen, readConfig } from './config.ts';
import { FolderWatch } from './folder-watch.ts';
import { HttpServer } from './http.ts';
import { executableNames } from './install/executables.ts';
import { Installer } from './install/installer.ts';
import { withKeys } from './keys.ts';
import { LeaseSweep } from './lease-sweep.ts';
import { createLog, type Log } from './log.ts';
import { Monitor } from './monitor.ts';
import { askForServe } from './node-files.ts';
import { ChecksumOffload } from './offload.ts';
import { PathMtu } from './path-mtu.ts';
import { Poll } from './poll.ts';
import { Prober } from './probe.ts';
import { Reconciler } from './reconcile.ts';
import { createSource } from './source.ts';
import { Speaker } from './speaker.ts';
import { Status } from './status.ts';
import type { Task } from './task.ts';
import { WantedTraffic } from './wanted.ts';
import { Ways } from './ways.ts';

export const defaultConfigFile = '/etc/culvert/agent.yaml';

/** Tasks that keep the plugins' executables where the runtime looks. */
function careOf(
  { install, paths, resyncSeconds }: AgentConfig,
  plugins: readonly string[],
  log: Log,
  changed: () => void,
) {
  if (install === false) return undefined;
  const replace = install === 'replace';
  const names = executableNames(plugins);
  const installer = new Installer({ folder: paths.cniBin, names, replace, everySeconds: resyncSeconds, log, changed });
  return { installer, tasks: [installer, new FolderWatch(paths.cniBin, installer.folderChanged)] };
}

/** The task that brings about what people want of the whole cluster, where they can say so. */
function wantedOf(source: ClusterSource, { node, listen }: AgentConfig, log: Log, changed: () => void) {
  if (!(source instanceof KubernetesSource)) return undefined;
  return new WantedTraffic({ cluster: source.cluster, node, port: parseListen(listen)!.port, changed, log });
}

/** The tasks of an agent with this configuration; `plugins` are the names that it may install. */
export function tasksOf(config: AgentConfig, plugins: readonly string[], log: Log): Task[] {
  const onCommand = (command: string) => log('debug', 'run', { command });
  const exec = createExec(onCommand);
  const kernel = createKernel(exec, (names, netns) => standBy(names, netns, onCommand), config.paths.sysctls);
  const source = createSource(config, log);
  const status = new Status();
  const changed = (): void => reconciler.hostChanged();
  const speaker = new Speaker({ run: config.paths.run, exec, registry: status.registry, log, changed });
  const ping = createWorkers(onCommand);
  const prober = new Prober(ping);
  const pathMtu = new PathMtu({ ...config.pathMtu, run: config.paths.run, ping, changed, log });
  const ways = new Ways({ ...config.auto, run: config.paths.run, ping, registry: status.registry, log, changed });
  const offload = new ChecksumOffload({ config, exec, kernel, registry: status.registry, changed, log });
  const addresses = (): readonly string[] => reconciler.addresses;
  const addressWatch = new AddressWatch({ exec, addresses, everyMs: config.resyncSeconds * 1000, changed, log });
  const care = careOf(config, plugins, log, changed);
  const wanted = wantedOf(source, config, log, changed);
  const watchers = { speaker, prober, ways, pathMtu, offload, addressWatch, wanted, installer: care?.installer };
  const reconciler = new Reconciler({ config, source, exec, kernel, ...watchers, status, log });
  const watching: Task = {
    name: 'watch',
    run: (signal) => untilAborted(signal, () => source.watch(reconciler.sourceChanged, signal)),
    notReady: () => undefined,
  };
  const warn = (text: string): void => log('warn', text.trimEnd());
  const machine = { exec, kernel, executable: mainFile(), warn, stderr: warn };
  const pools = () => podCidrSets(reconciler.podCIDRs);
  const sweep = config.sweep.enabled ? [new LeaseSweep({ config, machine, status, log, pools })] : [];
  const devices = () => reconciler.devices;
  const monitor = new Monitor(changed, devices, log);
  const poll = new Poll({ exec: createExec(), kernel, sysctls: () => reconciler.sysctls, devices, changed, log });
  const folder = new FolderWatch(config.paths.cniConf, changed);
  const looking = [prober, ways, pathMtu, offload, addressWatch, ...(wanted ? [wanted] : [])];
  const caring = [...(care?.tasks ?? []), folder];
  const tasks = [watching, monitor, poll, speaker, ...caring, reconciler, ...looking, ...sweep];
  return [...tasks, new HttpServer({ listen: config.listen, status, prober, ways, tasks })];
}

function untilAborted(signal: AbortSignal, start: () => void): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  signal.addEventListener('abort', () => resolve());
  start();
  return promise;
}

/** Runs the tasks until SIGTERM or SIGINT; rejects when one of them fails, after the others have ended. */
export async function runTasks(tasks: readonly Task[], log: Log): Promise<void> {
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    log('info', 'stopping; the data path stays', { signal });
    stop.abort();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  const running = tasks.map(async (task) => {
    try {
      await task.run(stop.signal);
    } finally {
      stop.abort();
    }
  });
  const ended = await Promise.allSettled(running);
  const failed = ended.find((e) => e.status === 'rejected');
  if (failed) throw failed.reason;
}

/** One line with everything that is wrong. */
function logFailure(log: Log, error: unknown): void {
  if (error instanceof ConfigError) {
    log('error', 'wrong configuration', { problems: error.problems });
  } else {
    const { name, message, stack } = error as Error;
    const isBug = name !== 'PlanError' && !/^listen: /.test(message);
    log('error', message, { problems: [{ got: message }], ...(isBug && { stack }) });
  }
}

export function readConfigOption(args: string[], more: Record<string, { type: 'boolean' }> = {}) {
  const { values, positionals } = parseArgs({
    args,
    options: { config: { type: 'string', default: defaultConfigFile }, ...more },
    allowPositionals: true,
  });
  if (positionals.length > 0) throw new UsageError(`unexpected argument "${positionals[0]}"`);
  return values as { config: string } & Record<string, string | boolean | undefined>;
}

async function run(args: string[], plugins: readonly string[]): Promise<number> {
  const { config: file } = readConfigOption(args);
  let log = createLog(false, (line) => void process.stdout.write(line));
  try {
    const notes: string[] = [];
    const config = readConfig(file, notes);
    log = createLog(config.log === 'debug', (line) => void process.stdout.write(line));
    for (const note of notes) log('warn', `${file}: ${note}`);
    askForServe(config);
    await runTasks(tasksOf(withKeys(config, true), plugins, log), log);
    return exitCode.fine;
  } catch (error) {
    logFailure(log, error);
    return exitCode.problems;
  }
}

/** `plugins`: the names that the agent installs where it is told to. */
export const agentCommand = (plugins: readonly string[]): Command => ({
  name: 'agent',
  summary: 'carry pod traffic between this node and the others; runs until stopped',
  help: `usage: culvert agent [--config FILE]

Reads the cluster's nodes, programs this host's links, routes, neighbours and nft table for them, writes the network
configuration for the container runtime, and keeps all that so until SIGTERM. Ending leaves the data path running.

  --config FILE   configuration (default ${defaultConfigFile})

Log lines are JSON on standard output. Exit codes: 0 stopped by a signal, 1 could not start (the log says why), 2 wrong usage.`,
  run: (args) => run(args, plugins),
});

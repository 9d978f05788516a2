/**
 * tuning: sysctls of the container's namespace, and MAC, MTU, promiscuity, all-multicast and queue length of its interface. It
 * stands behind the plugin that makes the interface, passes that one's result on, and gives the interface back as it was.
 */

import { readFileSync } from 'node:fs';
import { type FoundLink, linksOf } from '../src/apply/read.ts';
import { readSysctls } from '../src/apply/sysctl.ts';
import { UndoStack } from '../src/apply/undo.ts';
import { readValidAttachments, requirePrevResult } from '../src/cni/conf.ts';
import { driftError } from '../src/cni/error.ts';
import { type Plugin, requireNetns } from '../src/cni/skel.ts';
import type { Request, Result } from '../src/cni/types.ts';
import { show } from '../src/decode.ts';
import { CommandError, ConfigError, type Problem } from '../src/errors.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { netnsState } from '../src/kernel/netns.ts';
import { readBackup, removeBackup, sweepBackups, writeBackup } from './tuning/backup.ts';
import {
  decodeTuningConf,
  defaultDataDir,
  type LinkTuning,
  type SysctlTuning,
  type TuningConf,
} from './tuning/conf.ts';

/** Regular expressions, one a line; a sysctl must match one of them. No file: all are allowed. */
const allowListFile = '/etc/cni/tuning/allowlist.conf';

function readAllowList(): RegExp[] | undefined {
  let text: string;
  try {
    text = readFileSync(allowListFile, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new ConfigError([{ path: allowListFile, got: (error as Error).message, want: 'a file that can be read' }]);
  }
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '').map(parsePattern);
}

function parsePattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch {
    throw new ConfigError([{ path: allowListFile, got: show(text), want: 'a regular expression' }]);
  }
}

/** Throws ConfigError with every sysctl that the node does not allow. */
function checkAllowed({ sysctls }: TuningConf): void {
  const allowed = sysctls.length > 0 ? readAllowList() : undefined;
  const refused = sysctls.filter(({ name }) => allowed && !allowed.some((pattern) => pattern.test(name)));
  if (refused.length === 0) return;
  const want = `one that ${allowListFile} allows`;
  throw new ConfigError(refused.map(({ name }) => ({ path: `sysctl[${show(name)}]`, got: show(name), want })));
}

const onOff = (value: boolean): string => (value ? 'on' : 'off');

/** One line for each attribute, so that a failure names it. */
function linesOf(ifname: string, { mac, promisc, mtu, allmulti, txQLen }: LinkTuning): string[] {
  const attributes = [
    mac && `address ${mac}`,
    promisc !== undefined && `promisc ${onOff(promisc)}`,
    mtu !== undefined && `mtu ${mtu}`,
    allmulti !== undefined && `allmulticast ${onOff(allmulti)}`,
    txQLen !== undefined && `txqueuelen ${txQLen}`,
  ];
  return attributes.flatMap((text) => (text ? [`link set dev ${ifname} ${text}`] : []));
}

const tuningOf = (link: FoundLink): LinkTuning => ({
  ...(link.address ? { mac: link.address } : {}),
  promisc: link.flags.includes('PROMISC'),
  ...(link.mtu ? { mtu: link.mtu } : {}),
  allmulti: link.flags.includes('ALLMULTI'),
  txQLen: link.txQueueLength ?? 0, // ip leaves a zero out
});

/** The interface as it is; undefined when there is none. */
async function readTuning({ ifname, netns }: Request, { kernel }: Machine): Promise<LinkTuning | undefined> {
  try {
    const [shown = []] = await kernel.show([`link show dev ${ifname}`], netns);
    const link = linksOf(shown)[0];
    return link && tuningOf(link);
  } catch (error) {
    if (error instanceof CommandError && error.reason === 'not-found') return undefined;
    throw error;
  }
}

/** The attributes of `of` that `wanted` has as well. */
const only = (of: LinkTuning, wanted: LinkTuning): LinkTuning =>
  Object.fromEntries(Object.entries(of).filter(([key]) => Object.hasOwn(wanted, key))) as LinkTuning;

/** `promisc: false` asks for nothing, as in the reference plugin: the interface may be promiscuous for another's sake. */
function asked({ promisc, ...rest }: LinkTuning): LinkTuning {
  return promisc ? { ...rest, promisc } : rest;
}

async function add(request: Request, machine: Machine): Promise<Result> {
  const notes: string[] = [];
  const conf = decodeTuningConf(request, notes);
  for (const note of notes) machine.warn(`tuning: ${note}`);
  checkAllowed(conf);
  const previous = requirePrevResult(request);
  requireNetns(request);
  const link = asked(conf.link);
  const lines = linesOf(request.ifname, link);
  await using undo = new UndoStack(machine);
  if (lines.length > 0) {
    // kept before anything changes: whatever happens to us, DEL finds it
    const was = await readTuning(request, machine);
    if (!was)
      throw new ConfigError([{ path: 'CNI_IFNAME', got: show(request.ifname), want: 'a link of the container' }]);
    writeBackup(conf.dataDir, request, only(was, link));
    undo.push(() => restore(request, machine, conf.dataDir));
  }
  if (lines.length + conf.sysctls.length > 0) await tune(request, machine, lines, conf.sysctls);
  undo.commit();
  return withLink(previous, request.ifname, link);
}

/** Sysctls and the interface's lines in one process. Throws ConfigError for a sysctl that the kernel does not take. */
async function tune(
  { netns }: Request,
  { kernel, exec }: Machine,
  lines: readonly string[],
  sysctls: readonly SysctlTuning[],
): Promise<void> {
  try {
    await kernel.ip(lines, netns, sysctls);
  } catch (error) {
    // a batch names its failed line; a sysctl that failed is the first that is not as it should be
    if (!(error instanceof CommandError) || error.line !== undefined) throw error;
    const keys = sysctls.map((s) => s.key);
    const found = await readSysctls(exec, keys, netns);
    const failed = sysctls.find(({ key, value }) => words(found.get(key)) !== words(value));
    if (!failed) throw error;
    const want = found.get(failed.key) === undefined ? 'a sysctl that the kernel has' : 'a value that the kernel takes';
    const path = `sysctl[${show(failed.name)}]`;
    throw new ConfigError([{ path, got: show(failed.value), want: `${want}: ${error.stderr.trim()}` }]);
  }
}

/** The result with the interface's new MAC, and its MTU where the result says one. */
function withLink(result: Result, ifname: string, { mac, mtu }: LinkTuning): Result {
  const interfaces = result.interfaces.map((i) => {
    if (i.name !== ifname || !i.sandbox) return i;
    return { ...i, ...(mac ? { mac } : {}), ...(mtu && i.mtu ? { mtu } : {}) };
  });
  return { ...result, interfaces };
}

/** Gives the interface back as it was. What cannot be given back is told: no repeated DEL would do better. */
async function restore(request: Request, machine: Machine, dataDir: string): Promise<void> {
  try {
    const was = readBackup(dataDir, request);
    if (was && netnsState(request.netns) === 'namespace') await restoreLink(request, machine, was);
  } catch (error) {
    machine.warn(`tuning: ${request.ifname} is not as it was: ${(error as Error).message}`);
  }
  removeBackup(dataDir, request);
}

async function restoreLink({ ifname, netns }: Request, machine: Machine, was: LinkTuning): Promise<void> {
  const lines = linesOf(ifname, was);
  try {
    if (lines.length > 0) await machine.kernel.ip(lines, netns);
  } catch (error) {
    if (error instanceof CommandError && error.reason === 'not-found') return;
    for (const line of lines) {
      await machine.kernel
        .ip([line], netns)
        .catch((e: Error) => machine.warn(`tuning: ${ifname} is not as it was: ${e.message}`));
    }
  }
}

/** DEL and GC work with what they can read. */
const dataDirOf = ({ conf }: Request): string =>
  typeof conf['dataDir'] === 'string' && conf['dataDir'] !== '' ? conf['dataDir'] : defaultDataDir;

/** A sysctl's value as it compares: the kernel separates by tabs what people separate by blanks. */
const words = (text: string | undefined): string | undefined => text?.trim().split(/\s+/).join(' ');

async function check(request: Request, machine: Machine): Promise<void> {
  const conf = decodeTuningConf(request);
  requirePrevResult(request);
  requireNetns(request);
  const keys = conf.sysctls.map((s) => s.key);
  const [sysctls, link] = await Promise.all([
    readSysctls(machine.exec, keys, request.netns),
    readTuning(request, machine),
  ]);
  const problems: Problem[] = conf.sysctls
    .filter(({ key, value }) => words(sysctls.get(key)) !== words(value))
    .map(({ key, value }) => ({ path: `sysctl ${key}`, got: show(sysctls.get(key)), want: show(value) }));
  if (!link) problems.push({ path: `link ${request.ifname}`, got: 'nothing', want: 'the interface that was tuned' });
  for (const key of Object.keys(conf.link) as (keyof LinkTuning)[]) {
    if (!link || link[key] === conf.link[key]) continue;
    problems.push({ path: `link ${request.ifname} ${key}`, got: show(link[key]), want: show(conf.link[key]) });
  }
  if (problems.length > 0) throw driftError(problems);
}

export const tuning: Plugin<Machine> = {
  name: 'tuning',
  chained: true,
  about: 'sets sysctls and attributes of the interface that a plugin before it made',
  decode: decodeTuningConf,
  add,
  del: (request, machine) => restore(request, machine, dataDirOf(request)),
  check,
  async gc(request) {
    sweepBackups(dataDirOf(request), request.name, readValidAttachments(request.conf));
  },
  async status(request) {
    checkAllowed(decodeTuningConf(request));
  },
};

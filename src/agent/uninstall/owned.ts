/**
 * All that is ours on a node, in the order in which it goes: first what would bring further pods, then the ways to other nodes,
 * pods' links, tables, what was kept of them, and the executables last, as a runtime needs them to detach what is left.
 */

import { rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { BirdControl, birdFiles, flushArgvs } from '../../kernel/bird.ts';
import type { Machine } from '../../kernel/machine.ts';
import { birdMetric } from '../../plan/bgp.ts';
import { type Change, diff } from '../../plan/diff.ts';
import { emptyState, type NamespaceState } from '../../plan/host.ts';
import { render } from '../../plan/render.ts';
import { wantedName } from '../../serve/serve.ts';
import { passingOf } from '../../store/files.ts';
import { leasedIn, list, stat, unless } from '../../store/lease-files.ts';
import type { AgentConfig } from '../config.ts';
import { abandoned, executableNames, isReal, look } from '../install/executables.ts';
import { privateKeyFile } from '../keys.ts';
import { conflistName, conflistNetwork, nodeFileIn, serveFolderIn } from '../node-files.ts';
import { offloadFile } from '../offload.ts';
import { applyInParts } from '../parts.ts';
import { pathMtuFile } from '../path-mtu.ts';
import { seenClusterFile } from '../source.ts';
import { type JournalEntry, journalFile, readJournal } from '../sysctl-journal.ts';
import { pause } from '../task.ts';
import { chosenFile } from '../ways.ts';
import { podsOf, readOwned } from './kernel.ts';

/** One thing of ours; `detail` in words. */
export interface Item {
  readonly kind: 'file' | 'bird' | 'route' | 'link' | 'table' | 'sysctl' | 'leases' | 'executable';
  readonly name: string;
  readonly detail?: string;
}

/** What goes in one step. */
export interface Share {
  readonly items: readonly Item[];
  /** Answers what could not be removed, in words. */
  remove(): Promise<readonly string[]>;
}

export interface OwnedNode {
  /** In order; without those that are empty. */
  readonly shares: readonly Share[];
  /** Ours alone: they go when nothing else is in them. */
  readonly folders: readonly string[];
  /** Attachments: network, container and interface. */
  readonly pods: readonly string[];
  /** Names of plugins that are ours in the runtime's folder. */
  readonly executables: readonly string[];
  /** What is left as it is, in words. */
  readonly remarks: readonly string[];
}

/** A link that leads nowhere counts. */
const isThere = (path: string): boolean => stat(path) !== undefined;

/** A file that the agent replaces whole, and what is left of that when it was killed. */
const replaced = (path: string, detail?: string) => [{ path, ...(detail && { detail }) }, { path: passingOf(path) }];

/** Files and folders; those that are not there are no items. */
function pathShare(kind: Item['kind'], paths: readonly { path: string; detail?: string }[]): Share {
  const there = paths.filter(({ path }) => isThere(path));
  return {
    items: there.map(({ path, detail }) => ({ kind, name: path, ...(detail && { detail }) })),
    async remove() {
      return there.flatMap(({ path }) => {
        try {
          rmSync(path, { recursive: true, force: true });
          return [];
        } catch (error) {
          return [(error as Error).message];
        }
      });
    },
  };
}

/** One of the three changes that a diff against nothing makes of what is marked. */
function itemOf(change: Change, { links }: NamespaceState): Item {
  switch (change.op) {
    case 'delete-link': {
      const pod = links
        .find((l) => l.name === change.name)
        ?.alias?.split(' ')
        .slice(1)
        .join(' ');
      return { kind: 'link', name: change.name, ...(pod && { detail: `of ${pod}` }) };
    }
    case 'delete-table':
      return { kind: 'table', name: `${change.table.family} ${change.table.name}` };
    default:
      return {
        kind: 'route',
        name: render(change)
          .map((line) => line.text.replace('route delete ', ''))
          .join(),
      };
  }
}

function kernelShare(found: NamespaceState, { kernel }: Machine): Share {
  const changes = diff(found, emptyState());
  return {
    items: changes.map((change) => itemOf(change, found)),
    remove: async () => (await applyInParts(changes, kernel)).map((f) => `${f.lines}: ${f.error}`),
  };
}

const patienceMs = 10_000;

/** Whether it comes to pass; waiting for BIRD's connection alone would not keep this process alive. */
async function inTime(event: Promise<void>): Promise<boolean> {
  const over = new AbortController();
  const happened = event.then(() => true).finally(() => over.abort());
  return Promise.race([happened, pause(patienceMs, over.signal).then(() => over.signal.aborted)]);
}

/** BIRD ends and takes its routes along, or they are flushed; its neighbours drop theirs to this node. */
function birdShare(run: string, routes: number, { exec }: Machine): Share {
  const { socket } = birdFiles(run);
  return {
    items: routes > 0 || isThere(socket) ? [{ kind: 'bird', name: socket, detail: `with ${routes} routes` }] : [],
    async remove() {
      try {
        const control = await BirdControl.open(socket, () => {});
        await control?.ask('down');
        if (control && !(await inTime(control.closed))) throw new Error('it was told to end, and has not');
        for (const argv of flushArgvs(birdMetric)) await exec(argv);
        return [];
      } catch (error) {
        return [`BIRD: ${(error as Error).message}`];
      }
    },
  };
}

/** Sysctls that are as we set them; what somebody else has set since stays, and is a remark. */
function sysctlShare(entries: readonly JournalEntry[], { kernel }: Machine): Share & { remarks: string[] } {
  const standing = entries.filter((e) => kernel.readSysctl(e.key) === e.set && e.was !== e.set);
  const others = entries.filter((e) => ![undefined, e.set, e.was].includes(kernel.readSysctl(e.key)));
  // a forwarding host listens to routers only as long as accept_ra says so: that was set first, and goes back last
  const back = standing.toReversed();
  return {
    items: back.map(({ key, was, set }) => ({ kind: 'sysctl', name: key, detail: `${set} to ${was} again` })),
    remarks: others.map((e) => `${e.key} is ${kernel.readSysctl(e.key)}, not ${e.set} as we set it, and stays`),
    async remove() {
      return back.flatMap(({ key, was, along }) => {
        try {
          kernel.writeSysctl({ key, value: was });
          for (const other of along) kernel.writeSysctl({ key: other.key, value: other.was, optional: true });
          return [];
        } catch (error) {
          return [(error as Error).message];
        }
      });
    },
  };
}

function leaseShare(leases: string): Share {
  const folder = join(leases, conflistNetwork);
  const count = leasedIn(folder).length;
  return pathShare('leases', [
    { path: folder, detail: `${count} ${count === 1 ? 'address' : 'addresses'}` },
    { path: join(leases, '.culvert', conflistNetwork), detail: 'their index' },
  ]);
}

/** The links before the files, so that at no moment one leads nowhere. */
function executablesIn(folder: string, plugins: readonly string[]): string[] {
  const found = look(folder, executableNames(plugins)).filter((f) => f.kind === 'link' || f.kind === 'copy');
  return found.map((f) => f.name).sort((a, b) => Number(isReal(a)) - Number(isReal(b)));
}

/** What the agent leaves beside the node file and the network configuration. */
function agentFiles(config: AgentConfig): { path: string; detail?: string }[] {
  const { run, state } = config.paths;
  const birds = list(run).filter((name) => /^bird\.|\.password(?:\.next)?$/.test(name));
  return [
    ...birds.sort().map((name) => ({ path: join(run, name) })),
    ...list(serveFolderIn(run)).map((name) => ({
      path: join(serveFolderIn(run), name),
      ...(name !== wantedName && { detail: 'culvert serve ends' }),
    })),
    ...replaced(pathMtuFile(run), 'what was measured of the paths to other nodes'),
    ...replaced(chosenFile(run), 'what mode auto has chosen'),
    ...replaced(offloadFile(run), 'what was found of checksum offload'),
    ...replaced(journalFile(state)),
    ...replaced(seenClusterFile(state), 'what was last seen of the cluster'),
    { path: privateKeyFile(config), detail: "the node's private key" },
  ];
}

/** Looks, and changes nothing. `plugins` are all names that may have been installed. Throws CommandError. */
export async function findOwned(config: AgentConfig, plugins: readonly string[], machine: Machine): Promise<OwnedNode> {
  const { run, state, cniConf, cniBin, leases } = config.paths;
  const kernel = await readOwned(machine.kernel);
  const sysctls = sysctlShare(readJournal(journalFile(state)), machine);
  const executables = executablesIn(cniBin, plugins);
  const shares = [
    pathShare('file', [
      ...replaced(join(cniConf, conflistName), 'the runtime attaches no further pods'),
      ...replaced(nodeFileIn(run)),
    ]),
    birdShare(run, kernel.birdRoutes, machine),
    kernelShare(kernel.state, machine),
    sysctls,
    leaseShare(leases),
    pathShare('file', agentFiles(config)),
    pathShare(
      'executable',
      [...executables, ...abandoned(cniBin, executableNames(plugins), Number.POSITIVE_INFINITY)].map((name) => ({
        path: join(cniBin, name),
      })),
    ),
  ];
  return {
    shares: shares.filter((s) => s.items.length > 0),
    folders: [serveFolderIn(run), run, state, join(leases, '.culvert')],
    pods: podsOf(kernel.state),
    executables,
    remarks: sysctls.remarks,
  };
}

/** Removes all of it, whatever of it fails; answers what did, in words. */
export async function removeOwned({ shares, folders }: OwnedNode): Promise<string[]> {
  const failures: string[] = [];
  for (const share of shares) failures.push(...(await share.remove()));
  for (const folder of folders) unless(['ENOENT', 'ENOTEMPTY', 'EBUSY', 'EROFS'], () => rmdirSync(folder));
  return failures;
}

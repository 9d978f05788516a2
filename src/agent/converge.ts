/** The heart of the agent: look at the host, plan, compare, apply. Used by the loop, by `culvert plan` and by the benchmark. */

import type { Kernel } from '../kernel/kernel.ts';
import { normalise } from '../nftables/ruleset.ts';
import { type ClusterView, PlanError } from '../plan/cluster.ts';
import { type Change, diff } from '../plan/diff.ts';
import type { NamespaceState, TableState } from '../plan/host.ts';
import { type NodePlan, planNode } from '../plan/node.ts';
import { modesOf, type NodeSettings } from '../plan/settings.ts';
import type { HostFacts } from '../plan/underlay.ts';
import { ownedState, type Printed, readHost, readTable } from './host.ts';
import { applyInParts, type Failure } from './parts.ts';

/** The host as last read, and what of ours is on it. */
export interface Known {
  readonly facts: HostFacts;
  readonly owned: NamespaceState;
}

export interface Outlook {
  readonly facts: HostFacts;
  readonly plan: NodePlan;
  /** What is missing from the kernel or too much in it; none when all is as planned. */
  readonly changes: readonly Change[];
  /** Something that has to go stays for now, since what takes its place is not there yet. */
  readonly isWaiting: boolean;
}

export interface LookOptions {
  readonly view: ClusterView;
  readonly settings: NodeSettings;
  readonly kernel: Kernel;
  /** Kept between looks by who looks more than once. */
  readonly printed?: Printed;
  /** What the host is like, when that is known: it is not read then, unless nothing can be planned for it. */
  readonly known?: Known | undefined;
  /** What was measured: HostFacts.pathMtus. */
  readonly pathMtus?: ReadonlyMap<string, number> | undefined;
  /** What was decided: HostFacts.txChecksums. A host that is not read keeps to what it was. */
  readonly txChecksums?: ReadonlyMap<string, boolean> | undefined;
  /** Hears of changes right before they are made. */
  readonly about?: (changes: readonly Change[]) => void;
}

/** Compares and changes nothing. Throws PlanError, or CommandError when the host cannot be read. */
export async function look({
  view,
  settings,
  kernel,
  printed = new Map(),
  known,
  pathMtus,
  txChecksums = new Map(),
}: LookOptions): Promise<Outlook> {
  if (known) {
    try {
      const facts = { ...known.facts, pathMtus };
      const plan = planNode(view, settings, facts);
      return { facts, plan, ...changesOf(known.owned, plan) };
    } catch (error) {
      // the host may have changed together with the cluster
      if (!(error instanceof PlanError)) throw error;
    }
  }
  const found = await readHost(kernel, {
    wireguard: modesOf(settings).includes('wireguard'),
    flowtable: settings.flowtable !== false,
    features: [...txChecksums.keys()],
  });
  const facts = { ...found.facts, pathMtus, txChecksums };
  const plan = planNode(view, settings, facts);
  return { facts, plan, ...changesOf(ownedState(found, plan.state, plan.own.mac, kernel, printed), plan) };
}

/** Nothing of the mode before goes while BGP has yet to bring a route that stands there now: make before break. */
function changesOf(owned: NamespaceState, plan: NodePlan): Pick<Outlook, 'changes' | 'isWaiting'> {
  const changes = diff(owned, plan.state);
  const missing = new Set(plan.bgp?.missing.flatMap((m) => m.prefixes));
  const isWaiting = changes.some((c) => c.op === 'delete-route' && missing.has(c.route.prefix));
  return { changes: isWaiting ? changes.filter((c) => !c.op.startsWith('delete-')) : changes, isWaiting };
}

/** Makes the host as planned, in the network namespace of this process. Failures are what the kernel refused; the rest is made. */
export async function converge(options: LookOptions): Promise<Outlook & { readonly failures: readonly Failure[] }> {
  const outlook = await look(options);
  options.about?.(outlook.changes);
  const failures = await applyInParts(outlook.changes, options.kernel);
  for (const change of outlook.changes) {
    if (change.op !== 'replace-table' || !options.printed) continue;
    const text = await readTable(options.kernel, change.table.name);
    if (text !== undefined) remember(options.printed, change.table, normalise(text));
  }
  return { ...outlook, failures };
}

function remember(printed: Printed, { name, text: asked }: TableState, shown: string): void {
  const before = printed.get(name);
  if (shown === normalise(asked)) printed.delete(name);
  else printed.set(name, { asked, shown, isSure: before?.asked === asked && before.shown === shown });
}

/** The heart of the agent: look at the host, plan, compare, apply. Used by the loop, by `culvert plan` and by the benchmark. */

import type { Kernel } from '../kernel/kernel.ts';
import { normalise } from '../nftables/ruleset.ts';
import type { ClusterView } from '../plan/cluster.ts';
import { type Change, diff } from '../plan/diff.ts';
import { type NodePlan, type NodeSettings, planNode } from '../plan/node.ts';
import { ownedState, type Printed, readHost, readTable } from './host.ts';
import { applyInParts, type Failure } from './parts.ts';

export interface Outlook {
  readonly plan: NodePlan;
  /** What is missing from the kernel or too much in it; none when all is as planned. */
  readonly changes: readonly Change[];
}

/** Reads and compares; changes nothing. Throws PlanError, or CommandError when the host cannot be read. */
export async function look(
  view: ClusterView,
  settings: NodeSettings,
  kernel: Kernel,
  printed: Printed = new Map(),
): Promise<Outlook> {
  const found = await readHost(kernel);
  const plan = planNode(view, settings, found.facts);
  return { plan, changes: diff(ownedState(found, plan.state, plan.own.mac, kernel, printed), plan.state) };
}

/** Makes the host as planned, in the network namespace of this process. Failures are what the kernel refused; the rest is made. */
export async function converge(
  view: ClusterView,
  settings: NodeSettings,
  kernel: Kernel,
  printed: Printed = new Map(),
): Promise<Outlook & { readonly failures: readonly Failure[] }> {
  const outlook = await look(view, settings, kernel, printed);
  const failures = await applyInParts(outlook.changes, kernel);
  for (const change of outlook.changes) {
    if (change.op !== 'replace-table') continue;
    const text = await readTable(kernel);
    if (text !== undefined) printed.clear();
    if (text !== undefined) printed.set(change.table.text, normalise(text));
  }
  return { ...outlook, failures };
}

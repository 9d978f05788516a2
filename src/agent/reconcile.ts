/**
 * The loop: wait for a reason to look (cluster file, kernel event, time), then view → plan → read → diff → apply → report.
 * A reason carries no data. What fails is said once and tried again, ever more seldom, while everything else is made.
 */

import type { ClusterSource } from '../cluster/file.ts';
import { ConfigError } from '../errors.ts';
import type { Exec } from '../kernel/exec.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { Prefix } from '../net/prefix.ts';
import { sameTraffic, spelled } from '../plan/change.ts';
import {
  type ClusterNode,
  type ClusterTraffic,
  type ClusterView,
  PlanError,
  type PlanProblem,
} from '../plan/cluster.ts';
import { type Change, diff } from '../plan/diff.ts';
import type { SysctlState } from '../plan/host.ts';
import type { NodePlan } from '../plan/node.ts';
import { isAuto } from '../plan/settings.ts';
import type { AddressWatch } from './address-watch.ts';
import { withAbleCandidates } from './candidates.ts';
import { type AgentConfig, type NodeConfig, withTraffic } from './config.ts';
import { converge, type Known } from './converge.ts';
import { findingsOf, type Group } from './findings.ts';
import { foreignForwardChains } from './firewall.ts';
import type { Printed } from './host.ts';
import type { Installer } from './install/installer.ts';
import { withKeys } from './keys.ts';
import { type Log, Once } from './log.ts';
import { collectWhenIdle } from './memory.ts';
import { conflistName, otherConflists, writeNodeFiles, writeNotReady } from './node-files.ts';
import type { ChecksumOffload } from './offload.ts';
import type { PathMtu } from './path-mtu.ts';
import type { Prober } from './probe.ts';
import type { Speaker } from './speaker.ts';
import type { Status } from './status.ts';
import { journalFile, SysctlJournal } from './sysctl-journal.ts';
import type { Task } from './task.ts';
import { Wake } from './wake.ts';
import type { WantedTraffic } from './wanted.ts';
import type { Ways } from './ways.ts';

/** Until all that a pass did has been heard of from monitor.ts and poll.ts, which asks twice a second. */
const echoMs = 600;

/**
 * What a changed cluster is written with. An agent of thousands of nodes takes ten milliseconds to start a program, and does that
 * when there is time.
 */
const writers = ['nft -i', 'bridge', 'ip'] as const;

export interface ReconcilerParts {
  readonly config: AgentConfig;
  readonly source: ClusterSource;
  readonly exec: Exec;
  readonly kernel: Kernel;
  readonly speaker: Speaker;
  readonly prober: Prober;
  readonly pathMtu: PathMtu;
  readonly ways: Ways;
  readonly offload: ChecksumOffload;
  /** Where the agent takes care of the plugins' executables. */
  readonly installer: Pick<Installer, 'isDone' | 'problems'> | undefined;
  readonly addressWatch: AddressWatch;
  /** Where people write what they want of a whole cluster. */
  readonly wanted: Pick<WantedTraffic, 'problems' | 'takenBack'> | undefined;
  readonly status: Status;
  readonly log: Log;
}

export class Reconciler implements Task {
  readonly name = 'reconcile';
  readonly #parts: ReconcilerParts;
  readonly #wake = new Wake();
  readonly #said = new Once();
  readonly #saidOthers = new Once();
  readonly #printed: Printed = new Map();
  readonly #journal: SysctlJournal;
  #view: ClusterView | undefined;
  #settled: { traffic: ClusterTraffic | undefined; settings: NodeConfig } | undefined;
  #sourceProblem: string | undefined;
  #planProblems: readonly PlanProblem[] = [];
  #firewall: string[] = [];
  /** What the host is like since the last pass that went through; unknown after one that did not. */
  #known: Known | undefined;
  #devices: ReadonlySet<string> = new Set();
  #own: ClusterNode | undefined;
  #sysctls: readonly SysctlState[] = [];

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
    this.#journal = new SysctlJournal(journalFile(parts.config.paths.state), parts.kernel);
  }

  notReady(): string | undefined {
    return this.#parts.status.ready ? undefined : 'the host is not as planned yet';
  }

  /** Interfaces that lead to other nodes; none known while there is no plan. */
  get devices(): ReadonlySet<string> {
    return this.#devices;
  }

  /** This node's own, as last planned. */
  get podCIDRs(): readonly Prefix[] {
    return this.#own?.podCIDRs.map((p) => p.prefix) ?? [];
  }

  /** This node's own, as last planned. */
  get addresses(): readonly string[] {
    return this.#own?.addresses.map((a) => a.text) ?? [];
  }

  /** Those that were last planned. */
  get sysctls(): readonly SysctlState[] {
    return this.#sysctls;
  }

  /** The cluster source may have changed. */
  readonly sourceChanged = (): void => this.#wake.soon('source');

  /** The host may have changed. */
  readonly hostChanged = (): void => this.#wake.soon('host');

  async run(signal: AbortSignal): Promise<void> {
    const resyncMs = this.#parts.config.resyncSeconds * 1000;
    let backoffMs = 500;
    signal.addEventListener('abort', () => this.#wake.stop());
    await this.#parts.source.settled;
    while (!signal.aborted) {
      const fine = await this.#pass();
      backoffMs = fine ? 500 : Math.min(backoffMs * 2, resyncMs);
      collectWhenIdle();
      if (!signal.aborted) await this.#wake.next(fine ? resyncMs : backoffMs);
    }
    this.#parts.kernel.standBy([]);
  }

  /** One pass; answers whether the host is as planned. The first one throws what only a person can mend. */
  async #pass(): Promise<boolean> {
    const { config, source, status } = this.#parts;
    try {
      const view = this.#readView();
      const refused = await this.#converge(view);
      this.#report(refused);
      return refused.length === 0 && status.ready;
    } catch (error) {
      const isHuman = error instanceof ConfigError || error instanceof PlanError;
      if (!status.ready && isHuman && !source.mendsItself) throw error;
      if (!status.ready) writeNotReady(config, (error as Error).message);
      this.#known = undefined;
      this.#devices = new Set(); // whatever happens may mend it
      this.#planProblems = [];
      this.#report([(error as Error).message]);
      return false;
    }
  }

  /** Answers what the kernel refused, in words. */
  async #converge(view: ClusterView): Promise<string[]> {
    const { kernel, speaker, prober, ways, pathMtu, offload, status, log } = this.#parts;
    const { reasons } = this.#wake;
    const started = performance.now();
    if (reasons.has('time')) this.#firewall = await foreignForwardChains(kernel);
    // a changed cluster has to be in the kernel at once, and reading the host takes longest: it is read right after, to make sure
    const known = reasons.has('source') && !reasons.has('time') ? this.#known : undefined;
    if (!known) this.#wake.notLater();
    const settings = await this.#settings(view);
    const about = (changes: readonly Change[]) => this.#journal.keep(changes);
    const measured = { pathMtus: pathMtu.measured, txChecksums: offload.wanted };
    const done = await converge({ view, settings, kernel, printed: this.#printed, known, ...measured, about });
    const { plan, changes, failures, facts } = done;
    const isRepair =
      changes.length > 0 && !known && this.#known !== undefined && diff(this.#known.owned, plan.state).length === 0;
    const ms = Math.round(performance.now() - started);
    if (changes.length > 0) log('info', isRepair ? 'repaired' : 'applied', { changes: countOps(changes), ms });
    status.passed(done, view.nodes.length, ms / 1000, isRepair);
    this.#known = failures.length === 0 && !done.isWaiting ? { facts, owned: plan.state } : undefined;
    if (changes.length > 0 || !this.#own) kernel.standBy(writers);
    this.#devices = new Set(plan.devices);
    this.#own = plan.own;
    this.#sysctls = plan.state.sysctls;
    this.#planProblems = plan.problems;
    // the kernel tells of all that this pass has just done, in its own time: one look after that is enough, but for what came before
    if (known && reasons.has('host')) this.#wake.soon('host');
    else if (known) this.#wake.later('host', echoMs);
    prober.aim(plan.probes, view.digest);
    pathMtu.aim(plan.targets);
    ways.aim(plan);
    offload.aim(plan, view.nodes);
    const refused = failures.map((f) => `the kernel refused: ${f.lines}: ${f.error}`);
    // what BIRD has in the kernel goes only when all else is there
    if (plan.bgp || refused.length === 0) refused.push(...(await speaker.ensure(plan.bgp)));
    const isInstalled = this.#parts.installer?.isDone ?? true;
    const isSettled = status.ready || (speaker.isSettled && ways.isSettled);
    if (refused.length === 0 && isInstalled && isSettled) this.#finish(plan, settings, view);
    return refused;
  }

  /** The cluster as the source has it; while that is wrong, as it last was right. */
  #readView(): ClusterView {
    const { source, log } = this.#parts;
    try {
      const view = source.read();
      if (view !== this.#view) for (const note of source.notes) log('warn', `cluster: ${note}`);
      this.#view = view;
      this.#sourceProblem = undefined;
      return view;
    } catch (error) {
      if (!this.#view || !(error instanceof ConfigError)) throw error;
      this.#sourceProblem = `${source.whenWrong}: ${error.message}`;
      return this.#view;
    }
  }

  /** This node's own configuration with what the cluster says of traffic. */
  async #settings(view: ClusterView): Promise<NodeConfig> {
    const { config, exec, ways, log } = this.#parts;
    const known = this.#settled;
    if (!known || known.traffic !== view.traffic) {
      const sayLack = (why: string): void => log('info', 'mode auto leaves out', { why });
      const settings = withKeys(await withAbleCandidates(withTraffic(config, view), exec, sayLack), true);
      if (known && !sameTraffic(known.settings, settings)) log('info', 'traffic', { ...spelled(settings) });
      this.#settled = { traffic: view.traffic, settings };
    }
    const { settings } = this.#settled!;
    return isAuto(settings) ? { ...settings, auto: { ...settings.auto, chosen: ways.chosen } } : settings;
  }

  #finish(plan: NodePlan, settings: NodeConfig, view: ClusterView): void {
    const { status, log } = this.#parts;
    for (const file of writeNodeFiles(settings, plan)) log('info', 'wrote', { file });
    if (!status.ready) log('info', 'ready', { node: settings.node, mode: settings.mode, mtu: plan.mtuBytes });
    const notAccepted = plan.problems.filter((p) => p.alsoAccept).map((p) => p.text);
    // the prober asks for what is led another way already; of BGP that is what BIRD has brought
    const awaited = settings.alsoAccept?.mode === 'bgp' ? (plan.bgp?.missing ?? []) : [];
    const unanswered = awaited.flatMap(({ node, prefixes }) => prefixes.map((p) => `${node} at ${p} (no BGP route)`));
    status.succeeded({
      node: settings.node,
      cluster: view.digest,
      traffic: spelled(settings),
      mtu: plan.mtuBytes,
      softwareChecksums: plan.state.links.filter((l) => l.txChecksum === false).map((l) => l.name),
      notAccepted,
      unanswered,
    });
  }

  /** All that is wrong, by what an operator has to know of it. */
  #groups(now: readonly string[], ahead: readonly string[]): Group[] {
    const { source, status } = this.#parts;
    const textsOf = (problems: readonly PlanProblem[]) => problems.map((p) => p.text);
    const own = this.#planProblems.filter((p) => p.node === undefined && !p.alsoAccept);
    const others = this.#planProblems.filter((p) => !own.includes(p));
    return [
      [undefined, this.#sourceProblem ? [this.#sourceProblem] : []],
      [undefined, source.problems],
      [undefined, this.#parts.wanted?.problems ?? []],
      [status.ready ? 'HostNotAsPlanned' : 'NotReady', now],
      ['HostNotAsPlanned', textsOf(own)],
      [undefined, textsOf(others)],
      [undefined, this.#parts.speaker.problems],
      [undefined, this.#parts.pathMtu.problems],
      [undefined, this.#parts.ways.problems],
      [undefined, this.#parts.offload.problems],
      ['DuplicateAddress', this.#parts.addressWatch.problems],
      ['ForwardDropped', this.#firewall],
      ['NotInstalled', this.#parts.installer?.problems ?? []],
      [undefined, this.#journal.problem ? [this.#journal.problem] : []],
      ['ForeignConflist', ahead],
    ];
  }

  #report(now: readonly string[]): void {
    const { config, source, status, ways, wanted, log } = this.#parts;
    const folder = config.paths.cniConf;
    const { before, after } = otherConflists(folder);
    const ahead = before
      .slice(0, 1)
      .map((name) => `${folder}/${name} comes before ours by name: a runtime will use that one; remove it`);
    const groups = this.#groups(now, ahead);
    const problems = groups.flatMap(([, texts]) => texts);
    const aside: Group[] = [
      ['WayFallback', ways.fallback],
      ['ModeTakenBack', wanted?.takenBack ?? []],
    ];
    source.tell?.(findingsOf([...groups, ...aside]));
    status.setProblems(problems, this.#sourceProblem === undefined && source.problems.length === 0);
    this.#saidOthers.update(
      before.length === 0 && after[0] !== undefined ? [after[0]] : [],
      (name) =>
        log('warn', `a runtime uses ${folder}/${conflistName}, the first by name; without it ${name}: remove it`),
      () => {},
    );
    this.#said.update(
      problems,
      (text) => log('warn', text),
      (text) => log('info', 'no longer', { problem: text }),
    );
  }
}

function countOps(changes: readonly { op: string }[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { op } of changes) counts[op] = (counts[op] ?? 0) + 1;
  return counts;
}

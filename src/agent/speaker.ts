/**
 * Keeps BIRD as planned. BIRD is not a child: it goes on when the agent ends, and the next agent finds it by its control socket.
 * When it dies by itself the agent starts it again; it then leaves the kernel's routes alone until its neighbours, who kept
 * theirs too (graceful restart, RFC 4724), have told it all.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Registry } from 'prom-client';
import { BirdControl, type BirdFiles, birdFiles, flushArgvs, startBird } from '../kernel/bird.ts';
import type { Exec } from '../kernel/exec.ts';
import { type BgpPlan, birdMetric } from '../plan/bgp.ts';
import type { BgpSession } from '../plan/bird.ts';
import { readIfThere, replaceIfOther } from '../store/files.ts';
import { readPassword } from '../store/keys.ts';
import { describeDown, parseSessions, parseSignatureDrops, type SessionStatus, suspicion } from './bird-status.ts';
import type { Log } from './log.ts';
import { SessionMetrics } from './session-metrics.ts';
import { pause, type Task } from './task.ts';

/** Sessions and routes take a moment to come: so long their absence is no problem, and the node not ready. */
const settleMs = 5000;
const lookMs = 1000;

/** What BIRD reads in the place of a password that cannot be had: the others must not suffer. */
const disabled = 'disabled;\n';

export interface SpeakerParts {
  /** The agent's folder for files that need not survive a reboot. */
  readonly run: string;
  readonly exec: Exec;
  /** Where its metrics go. */
  readonly registry: Registry;
  readonly log: Log;
  /** Called when there is something to do or to say. */
  readonly changed: () => void;
}

export class Speaker implements Task {
  readonly name = 'bgp';
  readonly #parts: SpeakerParts;
  readonly #files: BirdFiles;
  readonly #metrics: SessionMetrics;
  #control: BirdControl | undefined;
  #plan: BgpPlan | undefined;
  /** The configuration that BIRD has taken. */
  #taken: string | undefined;
  #settledAt = 0;
  #passwordProblems: string[] = [];
  #sessions = new Map<string, SessionStatus>();
  #downSince = new Map<string, number>();
  #suspected = new Map<string, string>();
  #drops = parseSignatureDrops('');
  #said = '';

  constructor(parts: SpeakerParts) {
    this.#parts = parts;
    this.#files = birdFiles(parts.run);
    this.#metrics = new SessionMetrics(parts.registry);
  }

  notReady(): undefined {
    return undefined; // the loop waits for us
  }

  /** Routes are there, or have had their time to come. */
  get isSettled(): boolean {
    return this.#plan === undefined || this.#plan.missing.length === 0 || performance.now() >= this.#settledAt;
  }

  /** What is wrong with passwords, sessions and routes. */
  get problems(): string[] {
    if (!this.#plan) return [];
    const overdue = performance.now() - settleMs;
    const down = this.#plan.sessions
      .filter(({ name }) => (this.#downSince.get(name) ?? Number.POSITIVE_INFINITY) <= overdue)
      .map((s) => describeDown(s, this.#sessions.get(s.name), this.#suspected.get(s.name)));
    const missing = performance.now() < this.#settledAt ? [] : this.#plan.missing;
    const routes = missing.map(({ node, prefixes }) => `no BGP route to node "${node}": ${prefixes.join(', ')}`);
    return [...this.#passwordProblems, ...down, ...routes];
  }

  /** Makes BIRD as planned, or ends it when there is no plan. Answers what stands against it, in words. */
  async ensure(plan: BgpPlan | undefined): Promise<string[]> {
    this.#control ??= await this.#connect();
    this.#plan = plan;
    try {
      if (plan) await this.#speak(plan);
      else if (existsSync(this.#files.configuration)) await this.#end(this.#control);
      return [];
    } catch (error) {
      return [`BIRD: ${(error as Error).message}`];
    }
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // a reflector with thousands of sessions is not asked about all of them every second
      await pause(Math.max(lookMs, 20 * (this.#plan?.sessions.length ?? 0)), signal);
      if (this.#control && this.#plan && !signal.aborted) await this.#look(this.#control, this.#plan);
    }
    const control = this.#control;
    this.#control = undefined;
    control?.close();
  }

  async #connect(): Promise<BirdControl | undefined> {
    if (!existsSync(this.#files.socket)) return undefined;
    return BirdControl.open(this.#files.socket, () => this.#ended());
  }

  #ended(): void {
    if (!this.#control) return; // our own doing
    this.#control = undefined;
    this.#taken = undefined;
    this.#parts.log('warn', 'BIRD ended; starting it again');
    this.#parts.changed();
  }

  async #speak(plan: BgpPlan): Promise<void> {
    const { log, run, exec } = this.#parts;
    mkdirSync(run, { recursive: true });
    const haveChanged = this.#writePasswords(plan.sessions);
    if (this.#control && this.#taken === plan.configuration && !haveChanged) return;
    const { configuration } = this.#files;
    const next = `${configuration}.next`;
    writeFileSync(next, plan.configuration);
    if (this.#control) {
      await this.#configure(this.#control, next);
    } else {
      renameSync(next, configuration);
      await startBird(exec, this.#files, plan.hasRoutes);
      this.#control = await this.#connect();
      log('info', 'started BIRD', { sessions: plan.sessions.length, recovering: plan.hasRoutes });
    }
    if (this.#taken === undefined) this.#settledAt = performance.now() + settleMs;
    this.#taken = plan.configuration;
  }

  /** Checked before it is used: BIRD goes on with the last right one. */
  async #configure(control: BirdControl, next: string): Promise<void> {
    const { configuration } = this.#files;
    const checked = await control.ask(`configure check "${next}"`);
    if (checked.code >= 8000)
      throw new Error(`the configuration is refused, the last right one stays: ${checked.text}`);
    const isOther = readIfThere(configuration) !== readIfThere(next);
    renameSync(next, configuration);
    const taken = await control.ask('configure');
    if (taken.code >= 8000) throw new Error(taken.text);
    if (isOther) this.#parts.log('info', 'configured BIRD', { sessions: this.#plan?.sessions.length });
  }

  /** Copies passwords to where BIRD includes them from; answers whether any is new. */
  #writePasswords(sessions: readonly BgpSession[]): boolean {
    const problems = new Set<string>();
    let haveChanged = false;
    for (const { passwordFile, passwordInclude } of sessions) {
      if (passwordFile === undefined || passwordInclude === undefined) continue;
      let text = disabled;
      try {
        text = `password "${readPassword(passwordFile)}";\n`;
      } catch (error) {
        problems.add(`bgp: ${(error as Error).message}; the session stays down`);
      }
      const file = join(this.#parts.run, passwordInclude);
      if (replaceIfOther(file, text, 0o600)) haveChanged = true;
    }
    this.#passwordProblems = [...problems];
    return haveChanged;
  }

  /** As if it came back: neighbours keep their routes to us until they too have them of another mode, or the time is up. */
  async #end(control: BirdControl | undefined): Promise<void> {
    const { exec, log, run } = this.#parts;
    this.#control = undefined;
    this.#taken = undefined;
    this.#metrics.set([], new Map());
    await control?.ask('graceful restart');
    await control?.closed;
    for (const argv of flushArgvs(birdMetric)) await exec(argv);
    for (const name of readdirSync(run)) {
      if (name.endsWith('.password') || name === basename(this.#files.configuration)) rmSync(join(run, name));
    }
    log('info', 'ended BIRD; the routes are of another mode now');
  }

  async #look(control: BirdControl, plan: BgpPlan): Promise<void> {
    try {
      const { text } = await control.ask('show protocols all');
      this.#note(plan, parseSessions(text));
    } catch {
      return; // it ended: the connection says so itself
    }
    const said = this.problems.join('\n');
    if (said !== this.#said) this.#parts.changed();
    this.#said = said;
  }

  /** Takes in how the sessions are; ups and downs are log lines. */
  #note(plan: BgpPlan, now: Map<string, SessionStatus>): void {
    const { log } = this.#parts;
    const drops = parseSignatureDrops(readFileSync('/proc/net/netstat', 'utf8'));
    for (const session of plan.sessions) {
      const { name, peer, family } = session;
      const [was, is] = [this.#sessions.get(name)?.isUp, now.get(name)?.isUp ?? false];
      if (is && !was) log('info', 'BGP session up', { peer, family });
      if (was && !is) log('warn', 'BGP session down', { peer, family, error: now.get(name)?.lastError });
      const suspected = suspicion(session, this.#drops, drops);
      if (is) this.#suspected.delete(name);
      else if (suspected) this.#suspected.set(name, suspected);
      if (is) this.#downSince.delete(name);
      else if (!this.#downSince.has(name)) this.#downSince.set(name, performance.now());
    }
    for (const name of this.#downSince.keys()) if (!now.has(name)) this.#downSince.delete(name);
    this.#sessions = now;
    this.#drops = drops;
    this.#metrics.set(plan.sessions, now);
  }
}

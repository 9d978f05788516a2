/**
 * Finds tunnel devices whose packets leave this host with wrong checksums, and has them made here instead (checksumOffload: auto).
 * The other end of a tunnel is asked by TCP and UDP, whose checksums are left to the devices below, which with some network cards or
 * drivers know nothing of packets in packets. If neither is answered though pings are, the plan is to make checksums here for a
 * trial: what is answered then was their fault. What was found lies in a file of `paths.run`, so it holds until the next boot.
 */

import { join } from 'node:path';
import { Gauge, type Registry } from 'prom-client';
import { txChecksumOf } from '../apply/read.ts';
import { CommandError } from '../errors.ts';
import type { Exec } from '../kernel/exec.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { ClusterNode } from '../plan/cluster.ts';
import type { NodePlan } from '../plan/node.ts';
import { offloadDevices, type TunnelEnd, tunnelEnds } from '../plan/offload.ts';
import { readEntries, writeDocument } from '../store/files.ts';
import type { AgentConfig } from './config.ts';
import { knock, knockByUdp } from './knock.ts';
import type { Log } from './log.ts';
import { ping } from './ping.ts';
import { pause, type Task } from './task.ts';

/** The discard service's (RFC 863): nobody listens there, as a rule, and the refusal is the answer. */
const port = 9;
/** A device fails for all whom it leads to, so one that answers clears it; so many are asked because some may be away. */
const breadth = 3;
/** A loss by chance has no place in a verdict. */
const repeats = 3;
const everyMs = 60_000;
/** While nobody has answered yet. */
const soonMs = 5000;
/** After a trial that changed nothing. */
const restMs = 3_600_000;

export const offloadFile = (run: string): string => join(run, 'offload.json');

type Finding = 'wrong' | 'trial';

function readFindings(run: string): Map<string, Finding> {
  const found = readEntries(offloadFile(run), (value): value is Finding => value === 'wrong' || value === 'trial');
  return new Map([...found].filter(([device]) => offloadDevices.includes(device)));
}

/** What the agent of this configuration goes by at its start: a trial that was cut short is taken back. */
export function readTxChecksums({ checksumOffload, paths }: AgentConfig): Map<string, boolean> {
  if (checksumOffload !== 'auto') return new Map(offloadDevices.map((dev) => [dev, checksumOffload]));
  return new Map([...readFindings(paths.run)].map(([dev, finding]) => [dev, finding === 'trial']));
}

export interface OffloadParts {
  readonly config: AgentConfig;
  readonly exec: Exec;
  readonly kernel: Kernel;
  readonly registry: Registry;
  /** Called when a device is to be switched. */
  readonly changed: () => void;
  readonly log: Log;
}

export class ChecksumOffload implements Task {
  readonly name = 'offload';
  readonly #parts: OffloadParts;
  readonly #isAuto: boolean;
  /** By device: whether it is to leave checksums to others; none for one that stays as it is. */
  readonly #wanted: Map<string, boolean>;
  readonly #findings: Map<string, Finding>;
  readonly #restUntil = new Map<string, number>();
  readonly #gauge: Gauge;
  #aimed: { plan: NodePlan; nodes: readonly ClusterNode[] } | undefined;
  #skip = 0;
  #noProgram: string | undefined;
  /** In words. */
  #undecided: string | undefined;
  #wake = new AbortController();

  constructor(parts: OffloadParts) {
    const { config, registry } = parts;
    this.#parts = parts;
    this.#isAuto = config.checksumOffload === 'auto';
    this.#findings = this.#isAuto ? readFindings(config.paths.run) : new Map();
    this.#wanted = readTxChecksums(config);
    this.#gauge = new Gauge({
      name: 'culvert_checksum_offload_wrong',
      help: 'Tunnel devices whose packets are given their checksums by this host, since devices below made them wrong: 1',
      labelNames: ['device'],
      registers: [registry],
    });
    for (const [device, finding] of this.#findings) if (finding === 'wrong') this.#gauge.set({ device }, 1);
  }

  notReady(): undefined {
    return undefined;
  }

  get wanted(): ReadonlyMap<string, boolean> {
    return new Map(this.#wanted);
  }

  get problems(): string[] {
    return this.#undecided === undefined ? [] : [this.#undecided];
  }

  /** The host is, but for what the kernel refused, as in this plan. */
  aim(plan: NodePlan, nodes: readonly ClusterNode[]): void {
    this.#aimed = { plan, nodes };
    this.#wake.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake.abort());
    let dueMs = 0;
    while (!signal.aborted) {
      if (this.#aimed && this.#isAuto && performance.now() >= dueMs) {
        const isCleared = await this.#look(signal);
        dueMs = performance.now() + (isCleared ? everyMs : soonMs);
      }
      const waitMs = this.#isAuto ? Math.max(dueMs - performance.now(), 1000) : 3_600_000;
      await this.#next(this.#aimed ? waitMs : 3_600_000);
    }
  }

  /** Waits for the next plan, at most so long. */
  async #next(ms: number): Promise<void> {
    await pause(ms, this.#wake.signal);
    this.#wake = new AbortController();
  }

  /** Looks at every device that leads to somebody; answers whether somebody answered on each. */
  async #look(signal: AbortSignal): Promise<boolean> {
    const { plan, nodes } = this.#aimed!;
    for (const [device, finding] of this.#findings) if (finding === 'trial') await this.#takeBack(device, signal);
    let isCleared = true;
    for (const [device, ends] of tunnelEnds(plan, nodes, { skip: this.#skip, count: breadth })) {
      if (signal.aborted) return true;
      if (ends.length === 0) continue;
      if (this.#wanted.has(device) || performance.now() < (this.#restUntil.get(device) ?? 0)) continue;
      isCleared = (await this.#check(device, ends, signal)) && isCleared;
    }
    this.#skip = (this.#skip + breadth) % nodes.length;
    return isCleared;
  }

  /** Answers whether there was anybody to tell. */
  async #check(device: string, ends: readonly TunnelEnd[], signal: AbortSignal): Promise<boolean> {
    for (const end of ends) {
      const heard = await this.#ask(end, signal);
      if (heard === 'all') this.#undecided = undefined;
      if (heard === 'pings only') await this.#try(device, end, signal);
      if (heard !== 'nothing') return true;
    }
    return false;
  }

  async #ask(end: TunnelEnd, signal: AbortSignal): Promise<'all' | 'pings only' | 'nothing'> {
    for (let i = 0; i < repeats && !signal.aborted; i++) {
      const [byTcp, byUdp] = await Promise.all([knock(end, port), knockByUdp(end, port)]);
      if (byTcp !== undefined || byUdp) return 'all';
      if (!(await ping(this.#parts.exec, end))) return 'nothing';
    }
    return signal.aborted ? 'nothing' : 'pings only';
  }

  async #try(device: string, end: TunnelEnd, signal: AbortSignal): Promise<void> {
    const { log } = this.#parts;
    const { node, address } = end;
    const isOn = await this.#isOn(device);
    if (isOn === undefined) {
      this.#undecided = `node "${node}" answers pings at ${address}, and neither TCP nor UDP; whether ${device}'s checksums are wrong cannot be found out: ${this.#noProgram ?? 'it is gone'}`;
      return;
    }
    this.#undecided = undefined;
    this.#restUntil.set(device, performance.now() + restMs);
    if (!isOn) return;
    this.#find(device, 'trial');
    const isOff = await this.#switch(device, false, signal);
    const heard = isOff ? await this.#ask(end, signal) : 'nothing';
    // what this leaves behind the next agent takes back
    if (signal.aborted) return;
    if (heard === 'all') {
      this.#find(device, 'wrong');
      this.#gauge.set({ device }, 1);
      log('warn', 'checksum offload', { device, node, address, why: whyOff });
      return;
    }
    await this.#takeBack(device, signal);
    if (heard === 'pings only') log('info', 'checksum offload is not at fault', { device, node, address, why: whyOn });
    else this.#restUntil.delete(device);
  }

  /** Whether it leaves checksums to others; undefined: nobody can tell. */
  async #isOn(device: string): Promise<boolean | undefined> {
    try {
      return txChecksumOf(await this.#parts.kernel.showFeatures(device)) === true;
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      this.#noProgram = error.reason === 'no-program' ? error.stderr : undefined;
      return undefined;
    }
  }

  async #takeBack(device: string, signal: AbortSignal): Promise<void> {
    await this.#switch(device, true, signal);
    if (signal.aborted) return;
    this.#wanted.delete(device);
    this.#find(device, undefined);
  }

  #find(device: string, finding: Finding | undefined): void {
    if (finding) this.#findings.set(device, finding);
    else this.#findings.delete(device);
    writeDocument(offloadFile(this.#parts.config.paths.run), Object.fromEntries(this.#findings));
  }

  /** By way of the plan. Off is tried by one pass, and false answers that it stayed on; on is tried until it is. */
  async #switch(device: string, isOn: boolean, signal: AbortSignal): Promise<boolean> {
    this.#wanted.set(device, isOn);
    this.#parts.changed();
    while (!signal.aborted) {
      // asked first: a pass may end while the device is looked at
      const isTried = !isOn && this.#isToBeOff(device);
      const found = await this.#isOn(device);
      if (found === isOn || found === undefined) return found === isOn;
      if (isTried) return false;
      await this.#next(everyMs); // or until the next pass is over
    }
    return false;
  }

  /** The last pass switched it off, or tried to, or no longer knows the device. */
  #isToBeOff(device: string): boolean {
    const link = this.#aimed!.plan.state.links.find(({ name }) => name === device);
    return link === undefined || link.txChecksum === false;
  }
}

const whyOff = 'TCP and UDP get through since this host makes the checksums itself: those made below were wrong';
const whyOn = 'neither TCP nor UDP is answered there, with it and without, though pings are: a firewall, perhaps';

/**
 * The demo: one lab through every way of carrying pod traffic, each way proved by pings between everybody, by packets caught
 * on the wire and by figures; then everything is removed, and that is proved as well.
 */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import type { Machine } from '../kernel/machine.ts';
import { type Census, takeCensus } from './census.ts';
import { type Check, checkPings, checkSight, type Round, type Sight } from './check.ts';
import { checkLiveChange } from './demo-change.ts';
import {
  type Paint,
  type Row,
  renderCensus,
  renderCheck,
  renderFigures,
  renderMatrix,
  renderSight,
  renderTopology,
} from './demo-report.ts';
import { checkDetach, checkFullSize, endpointsOf, pairsOf, podMtuBytes, sightOf } from './demo-steps.ts';
import type { Lab } from './lab.ts';
import { type Endpoint, type Ping, pingAll } from './ping.ts';
import { type Measurement, measure, type Pair } from './throughput.ts';
import { decodeTopology, type Node, type Topology } from './topology.ts';

const rounds: readonly Round[] = [
  { title: 'vxlan: everything between nodes goes through a tunnel', settings: { mode: 'vxlan', sameSubnet: 'tunnel' } },
  {
    title: 'vxlan, same subnet direct: a tunnel only across the router',
    settings: { mode: 'vxlan', sameSubnet: 'direct' },
  },
  { title: 'routed: no tunnel at all, the router knows the pod ranges', settings: { mode: 'routed' } },
];

const runs = 3;

interface RoundResult {
  round: Round;
  pings: Ping[];
  sights: Sight[];
  checks: Check[];
  mtuBytes: number;
  same: Measurement[];
  across: Measurement[];
}

export interface DemoOptions {
  document: unknown;
  checksOnly: boolean;
  jsonFile: string | undefined;
  /** Aborted by Ctrl-C: the demo stops at the next step and cleans up. */
  signal: AbortSignal;
  say(text: string): void;
  paint: Paint;
}

/** The whole story of one demo. */
export class Demo {
  readonly #lab: Lab;
  readonly #options: DemoOptions;
  readonly #machine: Machine;
  readonly #started = Date.now();
  readonly #results: RoundResult[] = [];
  readonly #checks: Check[] = [];
  #census: { before?: Census; during?: Census; after?: Census } = {};

  constructor(lab: Lab, options: DemoOptions, machine: Machine) {
    this.#lab = lab;
    this.#options = options;
    this.#machine = machine;
  }

  #say(lines: string | readonly string[]): void {
    for (const line of typeof lines === 'string' ? [lines] : lines) this.#options.say(line === '' ? '' : `  ${line}`);
  }

  #head(text: string): void {
    this.#options.say(`\n${this.#options.paint('bold', text)}`);
  }

  #note(check: Check): Check {
    this.#checks.push(check);
    this.#say(renderCheck(check, this.#options.paint));
    return check;
  }

  /** Answers whether every check held. Whatever happens, the lab is gone afterwards. */
  async run(): Promise<boolean> {
    using _held = this.#lab.hold();
    let failure: unknown;
    try {
      await this.#lab.down(); // what there was of that name
      await this.#story();
    } catch (error) {
      failure = error;
    }
    await this.#cleanUp();
    if (failure !== undefined) {
      const text = this.#options.signal.aborted ? 'interrupted' : (failure as Error).message;
      this.#note({ what: 'the demo ran to its end', ok: false, want: 'no error', got: text });
    }
    const failed = this.#checks.filter((c) => !c.ok).length;
    const seconds = ((Date.now() - this.#started) / 1000).toFixed(0);
    const total = this.#checks.length;
    const verdict = failed === 0 ? `all ${total} checks held` : `${failed} of ${total} checks failed`;
    this.#options.say(`\n${this.#options.paint(failed === 0 ? 'green' : 'red', verdict)}, ${seconds} s`);
    if (this.#options.jsonFile) this.#writeJson(this.#options.jsonFile);
    return failed === 0;
  }

  async #story(): Promise<void> {
    const topology = decodeTopology(this.#options.document);
    const { place } = this.#lab;
    this.#census.before = await takeCensus(place.lab, place.prefix, this.#machine);
    this.#head('the network, every machine of it a network namespace');
    this.#say(renderTopology(topology));
    for (const [i, round] of rounds.entries()) {
      this.#options.signal.throwIfAborted();
      await this.#round(`${i + 1}. ${round.title}`, round);
    }
    await this.#change(`${rounds.length + 1}. back to vxlan while packets flow: culvert mode set`, rounds[0]!);
    this.#census.during = await takeCensus(place.lab, place.prefix, this.#machine);
    if (!this.#options.checksOnly) this.#figures();
  }

  async #round(title: string, round: Round): Promise<void> {
    this.#head(title);
    const topology = await this.#lab.up(this.#options.document, round.settings, (text) => this.#say(text));
    const { pods, nodes, outside } = endpointsOf(this.#lab, topology);
    const [sources, targets] = [
      [...pods, ...nodes],
      [...pods, ...nodes, ...outside],
    ];
    this.#options.signal.throwIfAborted();
    const pings = await pingAll(this.#lab.place, sources, targets, this.#machine);
    this.#say([
      '',
      `ping by ${topology.families.map((f) => `IPv${f}`).join(' and ')}:`,
      ...renderMatrix(pings, sources, targets),
      '',
    ]);
    const checks = checkPings(round, topology, targets, pings).map((c) => this.#note(c));
    checks.push(this.#note(await checkFullSize(this.#lab, topology, pods, this.#machine)));
    const pairs = pairsOf(topology);
    const sights: Sight[] = [];
    for (const pair of [pairs.same, pairs.across].filter((p) => p !== undefined)) {
      for (const family of topology.families) {
        this.#options.signal.throwIfAborted();
        const sight = await sightOf(this.#lab, topology, pair, family, this.#machine);
        sights.push(sight);
        checks.push(this.#note(checkSight(round, topology, sight)));
        this.#say(renderSight(sight).map((l) => `  ${l}`));
      }
    }
    const mtuBytes = await podMtuBytes(this.#lab, pods[0]!.host, this.#machine);
    const figures = this.#options.checksOnly
      ? { same: [], across: [] }
      : await this.#measure(topology, pairs, pods, nodes);
    this.#results.push({ round, pings, sights, checks, mtuBytes, ...figures });
  }

  /** From the last round's mode to this one's, and then the pods are taken down. */
  async #change(title: string, round: Round): Promise<void> {
    this.#options.signal.throwIfAborted();
    this.#head(title);
    const topology = this.#lab.topology()!;
    const { pods } = endpointsOf(this.#lab, topology);
    const { mode } = round.settings;
    const say = (lines: readonly string[]) => this.#say(lines);
    this.#note(await checkLiveChange(this.#lab, topology, pods, mode, this.#machine, say));
    const { same } = pairsOf(topology);
    for (const family of same ? topology.families : []) {
      const sight = await sightOf(this.#lab, topology, same!, family, this.#machine);
      this.#note(checkSight(round, topology, sight));
      this.#say(renderSight(sight).map((l) => `  ${l}`));
    }
    this.#note(await checkDetach(this.#lab, topology, this.#machine));
  }

  /** Pods and, in the same minute, their nodes: what the machine gives at all differs from minute to minute. */
  async #measure(
    topology: Topology,
    pairs: ReturnType<typeof pairsOf>,
    pods: readonly Endpoint[],
    nodes: readonly Endpoint[],
  ): Promise<{ same: Measurement[]; across: Measurement[] }> {
    const measured = async (pair: [Node, Node] | undefined): Promise<Measurement[]> => {
      this.#options.signal.throwIfAborted();
      if (!pair) return [];
      const between = (label: string, ends: readonly Endpoint[]): Pair => {
        const [from, to] = pair.map((n) => ends.find((e) => e.node === n.name)!);
        return { label, from: from!, to: to! };
      };
      const compared = [between('bare', nodes), between('pods', pods)];
      return measure(this.#lab.place, compared, topology.families, runs, this.#machine);
    };
    this.#say(`measuring: iperf3 and ping, ${runs} rounds on each path ...`);
    return { same: await measured(pairs.same), across: await measured(pairs.across) };
  }

  #figures(): void {
    this.#head(`throughput of one TCP stream, median of ${runs} runs of 1 s; ping, median of ${runs * 100}`);
    for (const [place, words] of [
      ['same', 'in one subnet'],
      ['across', 'across the router'],
    ] as const) {
      const rows = this.#results.map(
        ({ round, mtuBytes, [place]: all }): Row => ({
          name: `${[round.settings.mode, round.settings.sameSubnet].filter(Boolean).join(' ')} (MTU ${mtuBytes})`,
          bare: all.filter((m) => m.label === 'bare'),
          figures: all.filter((m) => m.label === 'pods'),
        }),
      );
      if (rows.some((r) => r.figures.length > 0)) this.#say(['', `${words}:`, ...renderFigures(rows)]);
    }
    const { kernel, cores, cpu } = conditions();
    this.#say([
      '',
      '"of bare" is beside the runs without pods that took turns with those, the first line is of all of them',
    ]);
    this.#say([`${cpu}, ${cores} cores, Linux ${kernel}; sender, receiver and network share them`]);
  }

  async #cleanUp(): Promise<void> {
    this.#head('clean-up');
    const { place } = this.#lab;
    const removed = await this.#lab.down();
    this.#say(`removed ${removed.namespaces} namespaces, ${removed.processes} processes and their files`);
    const after = await takeCensus(place.lab, place.prefix, this.#machine);
    const { before, during } = this.#census;
    this.#census.after = after;
    if (!before) return;
    this.#say(renderCensus(before, during ?? after, after));
    const kept = (['links', 'routes', 'rules', 'nftTables'] as const).filter((k) => after[k] !== before[k]);
    const left = after.labNamespaces + after.labProcesses + (existsSync(place.dir) ? 1 : 0);
    const want = "nothing of the lab is left, the machine's own network is as before";
    const got = left > 0 ? `${left} namespaces, processes or folders left` : `changed: ${kept.join(', ')}`;
    const ok = left === 0 && kept.length === 0;
    this.#note({ what: 'clean', ok, want, got: ok ? want : got });
  }

  #writeJson(file: string): void {
    const seconds = (Date.now() - this.#started) / 1000;
    const ok = this.#checks.every((c) => c.ok);
    const report = {
      ok,
      seconds,
      conditions: conditions(),
      checks: this.#checks,
      rounds: this.#results,
      census: this.#census,
    };
    writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
    this.#options.say(`written: ${file}`);
  }
}

const conditions = () => ({
  kernel: release(),
  cores: cpus().length,
  cpu: cpus()[0]?.model ?? 'unknown processor',
  distribution: /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown',
});

/**
 * Drives a change of traffic through a cluster, wherever its nodes read it: writes a step, waits until every node has taken it up and
 * reached the others over the way to come, then writes the next. What does not get through in time is taken back.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { formatTraffic, type Phase, type Step, sameTraffic, stepsTo } from '../plan/change.ts';
import type { ClusterNode, ClusterTraffic, ClusterView, Traffic } from '../plan/cluster.ts';
import { modesOf } from '../plan/settings.ts';
import { pool } from '../pool.ts';
import type { NodeStatus } from './status.ts';

/** What a node says, or why it says nothing. */
export type Answer = NodeStatus | string;

/** Where a cluster's nodes read its traffic. */
export interface TrafficPlace {
  /** What it is, for people: "cluster file". */
  readonly title: string;
  /** How nodes without a publicKey get one there. */
  readonly keyHint: string;
  /** The cluster as it is now. */
  read(): ClusterView;
  /** Writes this traffic and takes it to the nodes. Throws ChangeError when that fails. */
  write(traffic: ClusterTraffic): Promise<void>;
  /** What is to be said of it beside what is in force. */
  remarks(): string[];
}

export interface ChangeParts {
  place: TrafficPlace;
  ask(node: ClusterNode): Promise<Answer>;
  say(line: string): void;
  /** For one step to be confirmed. */
  timeoutMs: number;
  /** Do not go on before all probes are answered. */
  probe: boolean;
  /** Between the last node's switch and the end of the old way: packets may still be on it. */
  settleMs: number;
}

/** A change that cannot be begun or went no further; the message says why and what to do. */
export class ChangeError extends Error {
  override readonly name = 'ChangeError';
}

/** For who finds another's words where its own should be. */
export const otherHand = (title: string): ChangeError =>
  new ChangeError(`somebody else has changed the traffic of the ${title}; look with "culvert mode show"`);

const everyMs = 200;
/** Nodes asked at a time. */
const breadth = 32;

/** Asks all of these; answers in their order. */
export const askAll = (nodes: readonly ClusterNode[], ask: ChangeParts['ask']): Promise<Answer[]> =>
  pool(nodes, breadth, ask);

/** Nodes that say nothing of use, and why. */
export const silentOf = (nodes: readonly ClusterNode[], answers: readonly Answer[]): string[] =>
  answers.flatMap((a, i) => (typeof a === 'string' ? [`${nodes[i]!.name} ${a}`] : []));

/** What keeps a node from confirming a step; `final` will not mend by itself. */
interface Lack {
  readonly text: string;
  readonly final?: true;
}

export function lackOf(answer: Answer, digest: string, phase: Phase, probe: boolean): Lack | undefined {
  if (typeof answer === 'string') return { text: answer };
  if (answer.cluster !== digest) {
    return { text: ['has not taken this step up yet', ...answer.problems.slice(0, 1)].join(': ') };
  }
  if (phase === 'accept' && answer.notAccepted.length > 0) return { text: answer.notAccepted.join('; '), final: true };
  if (!probe || phase === 'done' || answer.unanswered.length === 0) return undefined;
  return { text: `no answer the other way from ${answer.unanswered.slice(0, 3).join(', ')}` };
}

/** The traffic of a cluster: as is said for it, else as all of its nodes agree. Throws ChangeError. */
export async function currentTraffic({ place, ask }: Pick<ChangeParts, 'place' | 'ask'>): Promise<ClusterTraffic> {
  const view = place.read();
  if (view.traffic) return view.traffic;
  const answers = await askAll(view.nodes, ask);
  const silent = silentOf(view.nodes, answers);
  const hint = 'write it there: traffic: { mode: … }';
  if (silent.length > 0) {
    throw new ChangeError(`the ${place.title} says no traffic, and not every node does: ${silent.join('; ')}; ${hint}`);
  }
  const said = (answers as NodeStatus[]).map((a) => a.traffic);
  const other = said.findIndex((t) => !sameTraffic(t, said[0]!));
  if (other < 0) return said[0]!;
  throw new ChangeError(
    `${view.nodes[0]!.name} has ${formatTraffic(said[0]!)}, ${view.nodes[other]!.name} has ${formatTraffic(said[other]!)}, and the ${place.title} says no traffic; ${hint}`,
  );
}

function checkKeys(target: Traffic, { title, keyHint, read }: TrafficPlace): void {
  const { nodes } = read();
  const lacking = modesOf(target).includes('wireguard') ? nodes.filter((n) => !n.publicKey) : [];
  if (lacking.length === 0) return;
  const names = lacking.slice(0, 10).map((n) => n.name);
  throw new ChangeError(
    `no publicKey in the ${title} for ${names.join(', ')}${lacking.length > 10 ? ` and ${lacking.length - 10} more` : ''}; ${keyHint}`,
  );
}

/** Whether a cluster says this traffic, or as little as nothing. */
const isSaid = ({ traffic: said }: ClusterView, traffic: ClusterTraffic | undefined): boolean =>
  said === undefined || traffic === undefined ? said === traffic : sameTraffic(said, traffic);

/** Waits until all nodes confirm a step; answers what is missing, by node, when they do not. Throws ChangeError when somebody has written other traffic. */
async function confirm(step: Step, back: boolean, parts: ChangeParts): Promise<string[]> {
  const end = performance.now() + parts.timeoutMs;
  const confirmed = new Map<string, string>();
  for (;;) {
    const view = parts.place.read();
    if (!isSaid(view, step.traffic)) throw otherHand(parts.place.title);
    const digest = view.digest!;
    const open = view.nodes.filter((n) => confirmed.get(n.name) !== digest);
    const answers = await askAll(open, parts.ask);
    const lacks: string[] = [];
    let isFinal = false;
    for (const [i, node] of open.entries()) {
      // on the way back it matters only that everybody is there
      const lack = lackOf(answers[i]!, digest, back ? 'done' : step.phase, parts.probe);
      if (lack) {
        lacks.push(`${node.name}: ${lack.text}`);
        isFinal ||= lack.final === true;
      } else {
        confirmed.set(node.name, digest);
        parts.say(`  ${node.name}: done, ${confirmed.size} of ${view.nodes.length}`);
      }
    }
    if (lacks.length === 0 || isFinal || performance.now() > end) return lacks;
    await sleep(everyMs);
  }
}

const headings: Readonly<Record<Phase, (t: ClusterTraffic) => string>> = {
  accept: (t) => `accept: ${formatTraffic(t)} carries, ${formatTraffic(t.alsoAccept!)} is accepted too`,
  switch: (t) => `switch: ${formatTraffic(t)} carries, ${formatTraffic(t.alsoAccept!)} is still accepted`,
  done: (t) => `done: ${formatTraffic(t)} alone`,
};

/**
 * Writes and confirms steps in order; answers the one that was not confirmed and why. Each is right only after the one before it, the
 * first one after `from`: throws ChangeError, and writes nothing, where something else is written there by now.
 */
async function walk(steps: readonly Step[], back: boolean, parts: ChangeParts, from: ClusterTraffic | undefined) {
  let before = from;
  for (const step of steps) {
    if (step.phase === 'done' && steps.length > 1) await sleep(parts.settleMs);
    parts.say(headings[step.phase](step.traffic));
    const view = parts.place.read();
    if (!isSaid(view, step.traffic)) {
      if (!isSaid(view, before)) throw otherHand(parts.place.title);
      await parts.place.write(step.traffic);
    }
    const lacks = await confirm(step, back, parts);
    if (lacks.length > 0) return { step, lacks };
    before = step.traffic;
  }
  return undefined;
}

/**
 * Where to go from a step that failed. Before the first switch nobody uses the new way: it can go at once. After it everybody
 * has to be back on the old one first.
 */
function wayBack(failed: Step, target: Traffic): { steps: Step[]; old: Traffic } | undefined {
  const { phase, traffic } = failed;
  if (phase === 'accept') {
    const { alsoAccept: _, ...old } = traffic;
    return { steps: [{ phase: 'done', traffic: old }], old };
  }
  if (phase === 'done') return undefined;
  const old = traffic.alsoAccept!;
  return {
    steps: [
      { phase: 'switch', traffic: { ...old, alsoAccept: target } },
      { phase: 'done', traffic: old },
    ],
    old,
  };
}

/**
 * Takes the cluster to another traffic; answers what it lacks, by node: nothing when it is there. When not, it has been taken back,
 * or `say` has said what is open. Throws ChangeError when nothing can be begun.
 */
export async function changeTraffic(target: Traffic, parts: ChangeParts): Promise<string[]> {
  const { traffic: said } = parts.place.read();
  const current = await currentTraffic(parts);
  checkKeys(target, parts.place);
  const steps = stepsTo(target, current);
  if (!steps) {
    const [from, to] = [formatTraffic(current), formatTraffic(current.alsoAccept!)];
    throw new ChangeError(
      `a change between ${from} and ${to} is under way; finish it or take it back first: culvert mode set ${current.alsoAccept!.mode}, or culvert mode set ${current.mode}`,
    );
  }
  // an unfinished change may have been switched before it was taken back to here
  const isResumed = current.alsoAccept !== undefined;
  const failed = await walk(steps, false, parts, said);
  if (!failed) return [];
  for (const lack of failed.lacks) parts.say(`  ${lack}`);
  const back = wayBack(failed.step, target);
  if (!back) {
    parts.say(`every node carries ${formatTraffic(target)}; those named have not dropped the old way yet`);
    return failed.lacks;
  }
  parts.say(`not confirmed: back to ${formatTraffic(back.old)}`);
  const first: Step[] = isResumed && failed.step.phase === 'accept' ? [failed.step] : [];
  const stuck = await walk([...first, ...back.steps], true, parts, failed.step.traffic);
  for (const lack of stuck?.lacks ?? []) parts.say(`  ${lack}`);
  if (stuck) parts.say(`not every node has confirmed that; when it answers again: culvert mode set ${back.old.mode}`);
  return failed.lacks;
}

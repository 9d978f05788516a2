/** Asks once over every way to every node that this host has, and finds how long packets may be. What `culvert probe` shows. */

import type { Exec } from '../kernel/exec.ts';
import { familyOf } from '../net/address.ts';
import { adviceOn } from '../plan/advice.ts';
import { type Passing, passings } from '../plan/choice.ts';
import { addressOf, type ClusterNode, type ClusterView, type Mode, podCidrsOf } from '../plan/cluster.ts';
import { type NodePlan, packetBytes } from '../plan/node.ts';
import { podFamiliesOf } from '../plan/overlay.ts';
import type { NodeSettings } from '../plan/settings.ts';
import { modeBetween } from '../plan/share.ts';
import { pool } from '../pool.ts';
import { knock } from './knock.ts';
import { findPathMtu } from './path-search.ts';
import { type Ping, ping } from './ping.ts';

const breadth = 16;
const bgpPort = 179;

/** One way to one node, as found. */
export interface Found {
  readonly node: string;
  readonly way: Mode;
  /** Pods' packets go this way at present. */
  readonly carries: boolean;
  readonly passing: Passing;
  /** How long an IP packet may be inside of the way, up to `wantedBytes`; 0: none passes. */
  readonly bytes: number;
  /** How long pods' packets to this node may be. */
  readonly wantedBytes: number;
  /** What to do, where not all passes. */
  readonly advice?: string;
}

interface Question {
  readonly node: ClusterNode;
  readonly way: Mode;
  readonly carries: boolean;
  /** All have to be answered. */
  readonly pings: readonly Ping[];
}

/** The longest packet that is answered; 0: none is. */
async function bytesOf(exec: Exec, probe: Ping, wanted: number): Promise<number> {
  const found = await findPathMtu(familyOf(probe.address), wanted, async (bytes) => ({
    passed: await ping(exec, { ...probe, bytes }),
  }));
  return found ?? 0;
}

const passingOf = (bytes: number, wanted: number): Passing => passings[bytes === 0 ? 0 : bytes < wanted ? 1 : 2];

/** Where no tunnel device answers under a pods' address, the node itself is asked. */
function fixedQuestion(own: ClusterNode, node: ClusterNode, way: Mode): Question {
  const families = podFamiliesOf(own).filter((f) => podFamiliesOf(node).includes(f));
  const isPlain = way === 'routed' || way === 'bgp';
  const pings = families.flatMap((f) => {
    const address = isPlain ? addressOf(node, f)?.text : podCidrsOf(node, f)[0]!.first;
    return address ? [{ address }] : [];
  });
  return { node, way, carries: true, pings };
}

function questionsOf({ nodes }: ClusterView, { own, ways }: NodePlan, settings: NodeSettings): Question[] {
  return nodes
    .filter((n) => n.name !== own.name)
    .flatMap((node): Question[] => {
      const its = ways.find((w) => w.node === node.name);
      const { mode, betweenSites } = settings;
      const known = mode !== 'auto' ? modeBetween(own, node, { mode, betweenSites }) : betweenSites;
      const isFixed = mode !== 'auto' || (betweenSites !== undefined && own.site !== node.site);
      const fixed = isFixed && known ? [fixedQuestion(own, node, known)] : [];
      const auto = (its?.candidates ?? []).map(
        ({ way, probes }): Question => ({ node, way, carries: !isFixed && way === its?.carries, pings: probes }),
      );
      return [...fixed, ...auto.filter((a) => !fixed.some((f) => f.way === a.way))].filter((q) => q.pings.length > 0);
    });
}

/** BGP's sessions; those that a password signs answer nobody who has not signed, and are left to /readyz. */
async function knockAtSpeakers({ bgp }: NodePlan, settings: NodeSettings): Promise<string[]> {
  const open = bgp?.sessions.filter((s) => s.passwordInclude === undefined) ?? [];
  const lines = await pool(open, breadth, async ({ peer, address, local }) => {
    const answer = await knock({ address, source: local.address }, bgpPort);
    if (answer === 'taken') return [];
    const text =
      answer === 'refused'
        ? `nobody speaks BGP at ${address}: is its agent, or its router's BGP, running?`
        : adviceOn('bgp', settings, [local.address], [address]);
    return [`${peer}: ${text}`];
  });
  return lines.flat();
}

export interface Measurement {
  readonly found: Found[];
  /** What does not answer at TCP port 179, and what to do. */
  readonly speakers: string[];
}

export async function measure(
  view: ClusterView,
  plan: NodePlan,
  settings: NodeSettings,
  exec: Exec,
): Promise<Measurement> {
  const bytesTo = packetBytes(plan);
  const own = plan.own.addresses.map((a) => a.text);
  const found = await pool(questionsOf(view, plan, settings), breadth, async (question): Promise<Found> => {
    const { node, way, carries, pings } = question;
    const wantedBytes = bytesTo(node.podCIDRs.map((p) => p.text));
    const bytes = Math.min(...(await Promise.all(pings.map((p) => bytesOf(exec, p, wantedBytes)))));
    const passing = passingOf(bytes, wantedBytes);
    const advice =
      passing === 'none'
        ? adviceOn(
            way,
            settings,
            own,
            node.addresses.map((a) => a.text),
          )
        : passing === 'small'
          ? `packets of more than ${bytes} bytes get lost on the way: set mtu: ${bytes} on all nodes, or mend the network`
          : undefined;
    return { node: node.name, way, carries, passing, bytes, wantedBytes, ...(advice && { advice }) };
  });
  return { found, speakers: await knockAtSpeakers(plan, settings) };
}

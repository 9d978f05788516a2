/**
 * Nodes as found → nodes of the view. A file is right or wrong as a whole; here one node that is wrong must not keep all others from
 * changing: it is left out and named. Of two nodes that clash the one made last stays, on every agent alike: it has taken over
 * what belonged to one that is gone.
 */

import { ConfigError } from '../../errors.ts';
import type { ClusterNode } from '../../plan/cluster.ts';
import { Claims } from '../claims.ts';
import { clashesOf } from '../clashes.ts';
import { decodeNode } from '../view.ts';
import type { FoundNode } from './node.ts';

export interface Judged {
  /** By name. */
  readonly nodes: readonly ClusterNode[];
  /** Why a node is not among them, by its name. */
  readonly leftOut: ReadonlyMap<string, string>;
}

const newestFirst = (a: FoundNode, b: FoundNode): number =>
  a.created === b.created ? (a.entry.name < b.entry.name ? -1 : 1) : a.created > b.created ? -1 : 1;

const byName = (a: ClusterNode, b: ClusterNode): number => (a.name < b.name ? -1 : 1);

export class NodeJudge {
  /** An entry is decoded once. */
  readonly #decoded = new WeakMap<FoundNode, ClusterNode | string>();
  readonly #claims = new Claims();

  judge(found: Iterable<FoundNode>): Judged {
    const leftOut = new Map<string, string>();
    const right: FoundNode[] = [];
    for (const one of found) {
      const node = this.#decode(one);
      if (typeof node === 'string') leftOut.set(one.entry.name, node);
      else right.push(one);
    }
    const nodes = this.#nodesOf(right).sort(byName);
    if (this.#claims.take(nodes)) return { nodes, leftOut };
    let standing = this.#nodesOf(right.sort(newestFirst));
    for (let lost = losersOf(standing); lost.size > 0; lost = losersOf(standing)) {
      for (const [node, why] of lost) leftOut.set(node.name, why);
      standing = standing.filter((node) => !lost.has(node));
    }
    return { nodes: standing.sort(byName), leftOut };
  }

  #nodesOf(found: readonly FoundNode[]): ClusterNode[] {
    return found.map((one) => this.#decode(one)).filter((node) => typeof node !== 'string');
  }

  #decode(found: FoundNode): ClusterNode | string {
    let node = this.#decoded.get(found);
    if (node === undefined) {
      try {
        node = decodeNode(found.entry, '');
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        node = error.message;
      }
      this.#decoded.set(found, node);
    }
    return node;
  }
}

/** Those that have to go, the newest first in `nodes`; one that loses takes nothing from others. */
function losersOf(nodes: readonly ClusterNode[]): Map<ClusterNode, string> {
  const clashes = clashesOf(nodes);
  if (clashes.length === 0) return new Map();
  const order = new Map(nodes.map((node, i) => [node, i]));
  const decided = clashes
    .map(({ got, want, between: [a, b] }) => ({
      why: `${got.replace(/nodes\[\d+\] /, '')}; want ${want}`,
      winner: order.get(a)! < order.get(b)! ? a : b,
      loser: order.get(a)! < order.get(b)! ? b : a,
    }))
    .sort((a, b) => order.get(a.loser)! - order.get(b.loser)!);
  const lost = new Map<ClusterNode, string>();
  for (const { winner, loser, why } of decided) {
    if ((winner === loser || !lost.has(winner)) && !lost.has(loser)) lost.set(loser, why);
  }
  return lost;
}

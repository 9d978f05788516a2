import { describe, expect, it } from 'vitest';
import { Claims } from '../../src/cluster/claims.ts';
import { clashesOf } from '../../src/cluster/clashes.ts';
import { decodeNode } from '../../src/cluster/view.ts';
import type { ClusterNode } from '../../src/plan/cluster.ts';
import { Dice } from '../support/dice.ts';

const keys = ['a', 'b', 'c'].map((first) => `${first}SDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTm8=`);

/** A node out of so few possible ones that some clash. */
function anyNode({ chance }: Dice): ClusterNode {
  const number = (most: number) => Math.floor(chance() * most);
  const some = <T>(list: readonly T[]): T[] => list.filter(() => chance() < 0.7);
  const addresses = some([`10.${number(9)}.0.${1 + number(20)}`, `fd00:${number(3)}::${1 + number(20)}`]);
  const podCIDRs = some([
    `10.${number(9)}.${number(20)}.0/${24 + number(2)}`,
    `10.${64 + number(9) * 4}.0.0/14`,
    `fd00:${number(3)}:0:${1 + number(20)}::/64`,
  ]);
  const entry = {
    name: `n${number(40)}`,
    addresses: addresses.length > 0 ? addresses : ['192.0.2.1'],
    podCIDRs: podCIDRs.length > 0 ? podCIDRs : [`172.16.${number(30)}.0/24`],
    ...(chance() < 0.2 && { publicKey: keys[number(3)] }),
  };
  return decodeNode(entry, '');
}

/** The list with a few nodes more, fewer, again or in other places. */
function changed(nodes: readonly ClusterNode[], dice: Dice): ClusterNode[] {
  const next = nodes.filter(() => dice.chance() < 0.9);
  for (let i = Math.floor(dice.chance() * 4); i > 0; i--) {
    const at = Math.floor(dice.chance() * (next.length + 1));
    const known = next[Math.floor(dice.chance() * next.length)];
    next.splice(at, 0, known && dice.chance() < 0.05 ? known : anyNode(dice));
  }
  return dice.chance() < 0.05 ? dice.shuffled(next) : next;
}

describe('Claims.take()', () => {
  it.each([1, 2, 3])('takes what has no clash, whatever it was given before (seed %i)', (seed) => {
    const dice = new Dice(seed);
    const claims = new Claims();
    let right: ClusterNode[] = [];
    const answers = [0, 0];
    for (let i = 0; i < 3000; i++) {
      const nodes = changed(right, dice);
      const isFine = clashesOf(nodes).length === 0;
      expect(claims.take(nodes)).toBe(isFine);
      answers[isFine ? 1 : 0]!++;
      if (isFine) right = nodes;
      // what was right before is right again
      else if (dice.chance() < 0.5) expect(claims.take(right)).toBe(true);
    }
    expect(Math.min(...answers)).toBeGreaterThan(300);
  });

  it('takes many at once', () => {
    const nodes = Array.from({ length: 300 }, (_, i) =>
      decodeNode(
        { name: `n${i}`, addresses: [`192.0.${i >> 7}.${i & 127}`], podCIDRs: [`10.${i >> 7}.${i & 127}.0/24`] },
        '',
      ),
    );
    const claims = new Claims();
    expect(claims.take(nodes)).toBe(true);
    expect(claims.take([...nodes, nodes[7]!])).toBe(false);
    expect(claims.take([...nodes].reverse())).toBe(true);
    expect(claims.take([...nodes, nodes[7]!])).toBe(false);
    expect(claims.take(nodes.slice(10))).toBe(true);
    expect(claims.take(nodes)).toBe(true);
  });
});

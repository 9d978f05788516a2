import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseYaml } from '../../src/cluster/document.ts';
import { ViewDecoder } from '../../src/cluster/view.ts';
import { ConfigError } from '../../src/errors.ts';
import { keyOf } from '../support/cluster.ts';

const a = { name: 'a', addresses: ['192.168.1.1'], podCIDRs: ['10.1.0.0/24'] };
const b = { name: 'b', addresses: ['192.168.1.2'], podCIDRs: ['10.2.0.0/24'] };

function problemsOf(value: unknown): string[] {
  try {
    new ViewDecoder().decode(value);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map((p) => `${p.path}: ${p.got}: ${p.want}`);
    throw error;
  }
  return [];
}

const wantAddress = 'a unicast address such as "192.168.1.11" or "fd00:1::11", without a prefix length';
const wantPrefix =
  'a network such as "10.244.1.0/24" or "fd00:244:1::/64", bits after the prefix zero, room for four addresses or more';

describe('ViewDecoder', () => {
  it('loads the example', () => {
    const file = join(import.meta.dirname, '../../conf/cluster.yaml');
    const notes: string[] = [];
    const view = new ViewDecoder().decode(parseYaml(readFileSync(file, 'utf8'), file), notes);
    expect(view.nodes.map((n) => n.name)).toEqual(['node1', 'node2', 'node3']);
    expect(notes).toEqual([]);
  });

  it.each<[string, unknown, string[]]>([
    ['no document', null, ['nodes: null: a list of nodes, each with name, addresses and podCIDRs']],
    ['nodes that is no list', { nodes: {} }, ['nodes: {}: a list of nodes, each with name, addresses and podCIDRs']],
    ['an entry that is no object', { nodes: [1] }, ['nodes[0]: 1: an object with name, addresses and podCIDRs']],
    [
      'several wrong fields at once',
      {
        nodes: [
          { ...a, name: 'a b', addresses: ['192.168.1.300'] },
          { ...b, podCIDRs: ['10.2.0.1/24'] },
        ],
      },
      [
        'nodes[0].name: "a b": a node name: letters, digits, "-", "." and "_", at most 253',
        `nodes[0].addresses[0]: "192.168.1.300": ${wantAddress}`,
        `nodes[1].podCIDRs[0]: "10.2.0.1/24": ${wantPrefix}`,
      ],
    ],
    [
      'a missing field',
      { nodes: [{ name: 'a', addresses: a.addresses }] },
      ['nodes[0].podCIDRs: nothing: a list of networks'],
    ],
    [
      'a public key and a site',
      { nodes: [{ ...a, publicKey: 'c2hvcnQ=', site: '../x' }] },
      [
        'nodes[0].publicKey: "c2hvcnQ=": a WireGuard public key as "culvert keys" prints it: 44 characters of base64',
        'nodes[0].site: "../x": a name: letters, digits, "-", "." and "_", at most 63',
      ],
    ],
    [
      'an AS and a route reflector',
      { nodes: [{ ...a, as: 4_294_967_296, routeReflector: 'yes' }] },
      [
        'nodes[0].as: 4294967296: the number of an autonomous system, from 1 to 4294967295',
        'nodes[0].routeReflector: "yes": true or false',
      ],
    ],
    [
      'a duplicate public key',
      {
        nodes: [
          { ...a, publicKey: keyOf(1) },
          { ...b, publicKey: keyOf(1) },
        ],
      },
      [`nodes[1]: "b" with publicKey ${keyOf(1)}, as nodes[0] "a": a key of its own for each node`],
    ],
    ['no address', { nodes: [{ ...a, addresses: [] }] }, ['nodes[0].addresses: []: at least one address']],
    [
      'two addresses of a family',
      { nodes: [{ ...a, addresses: ['192.168.1.1', '192.168.1.9'] }] },
      ['nodes[0].addresses: ["192.168.1.1","192.168.1.9"]: at most one IPv4 and one IPv6 address'],
    ],
    [
      'a duplicate name',
      { nodes: [a, { ...b, name: 'a' }] },
      ['nodes[1]: "a" with name a, as nodes[0] "a": a name only once'],
    ],
    [
      // two of twenty million names that make the same address
      'a duplicate VTEP MAC address',
      {
        nodes: [
          { ...a, name: 'node66856' },
          { ...b, name: 'node7842267' },
        ],
      },
      [
        'nodes[1]: "node7842267" with VTEP MAC 3e:c6:67:07:88:50, as nodes[0] "node66856": names that make different MAC addresses; rename one node',
      ],
    ],
    [
      'a duplicate address',
      { nodes: [a, { ...b, addresses: a.addresses }] },
      ['nodes[1]: "b" with address 192.168.1.1, as nodes[0] "a": an address only once'],
    ],
    [
      'overlapping podCIDRs',
      { nodes: [a, { ...b, podCIDRs: ['10.0.0.0/8'] }] },
      ['nodes: podCIDR 10.1.0.0/24 of "a" overlaps 10.0.0.0/8 of "b": podCIDRs that share no address'],
    ],
    [
      'an address inside a podCIDR',
      { nodes: [a, { ...b, addresses: ['10.1.0.9'] }] },
      ['nodes: address 10.1.0.9 of "b" lies in podCIDR 10.1.0.0/24 of "a": node addresses outside all podCIDRs'],
    ],
  ])('refuses %s', (_name, value, want) => {
    expect(problemsOf(value)).toEqual(want);
  });

  it('keeps nodes whose entries have not changed', () => {
    const decoder = new ViewDecoder();
    const first = decoder.decode({ nodes: [a, b] });
    const second = decoder.decode({ nodes: [structuredClone(a), { ...b, podCIDRs: ['10.3.0.0/24'] }] });
    expect(second.nodes[0]).toBe(first.nodes[0]);
    expect(second.nodes[1]!.podCIDRs[0]!.text).toBe('10.3.0.0/24');
  });

  it('remarks on unknown keys', () => {
    const notes: string[] = [];
    new ViewDecoder().decode({ nodes: [{ ...a, podCidrs: 1 }], x: 1 }, notes);
    expect(notes).toEqual([
      'nodes[0].podCidrs: unknown key, ignored; did you mean "podCIDRs"?',
      'x: unknown key, ignored; known are traffic and nodes',
    ]);
  });
});

describe('ViewDecoder finds a clash among nodes that it has seen', () => {
  const node = (i: number, more: object = {}) => ({
    name: `n${i}`,
    addresses: [`192.0.2.${i}`, `2001:db8::${i}`],
    podCIDRs: [`10.1.${i}.0/24`, `fd00:1:0:${i}::/64`],
    ...more,
  });
  const key = (first: string) => `${first}SDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTm8=`;
  const seen = [node(1, { publicKey: key('a') }), node(2), node(3)];
  const fine = [node(9), node(9, { publicKey: key('b') })];
  const clashing = [
    node(2),
    node(9, { name: 'n2' }),
    node(9, { addresses: ['192.0.2.2'] }),
    node(9, { addresses: ['2001:db8::2'] }),
    node(9, { publicKey: key('a') }),
    node(9, { podCIDRs: ['10.1.2.0/24'] }),
    node(9, { podCIDRs: ['10.1.2.128/25'] }),
    node(9, { podCIDRs: ['10.0.0.0/14'] }),
    node(9, { podCIDRs: ['fd00:1::/48'] }),
    node(9, { podCIDRs: ['192.0.2.0/30'] }),
    node(9, { addresses: ['10.1.2.7'] }),
    node(9, { podCIDRs: ['10.1.9.0/24', '10.1.9.0/25'] }),
    node(9, { addresses: ['10.1.9.9'] }),
  ];
  const decode = (decoder: ViewDecoder, nodes: object[]) => {
    try {
      return decoder.decode({ nodes }).nodes;
    } catch (error) {
      return (error as Error).message;
    }
  };

  it.each([...fine, ...clashing].map((added) => [JSON.stringify(added), added] as const))('%s', (_name, added) => {
    const decoder = new ViewDecoder();
    for (const nodes of [seen, [...seen, added], seen, [added, ...seen]]) {
      expect(decode(decoder, nodes)).toEqual(decode(new ViewDecoder(), nodes));
    }
    expect(typeof decode(decoder, [...seen, added])).toBe(clashing.includes(added) ? 'string' : 'object');
  });
});

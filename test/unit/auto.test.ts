import { describe, expect, it } from 'vitest';
import { ableCandidates } from '../../src/agent/candidates.ts';
import { decodeConfig } from '../../src/agent/config.ts';
import { ViewDecoder } from '../../src/cluster/view.ts';
import { CommandError } from '../../src/errors.ts';
import type { Exec } from '../../src/kernel/exec.ts';
import { adviceOn } from '../../src/plan/advice.ts';
import { choose, fallbackOf, type Heard, hear, type Passing, unheard, type WayRecord } from '../../src/plan/choice.ts';
import type { ClusterNode, WayMode } from '../../src/plan/cluster.ts';
import { diff } from '../../src/plan/diff.ts';
import { emptyState } from '../../src/plan/host.ts';
import { packetBytes, planNode } from '../../src/plan/node.ts';
import { probeAddresses } from '../../src/plan/probe-addresses.ts';
import { asCommand, render } from '../../src/plan/render.ts';
import type { NodeSettings } from '../../src/plan/settings.ts';
import { host, keyOf, type More, type Stack, settings, viewOf } from '../support/cluster.ts';

const heard = (...list: [WayMode, Passing | undefined][]): Heard => list.map(([way, passing]) => ({ way, passing }));

describe('fallbackOf()', () => {
  const to = (first: WayMode, way: WayMode) => ({ first, way });

  it('is silent while the first choice leads to half of the nodes', () => {
    expect(fallbackOf([])).toEqual([]);
    expect(fallbackOf([to('routed', 'routed'), to('routed', 'vxlan')])).toEqual([]);
  });

  it('says what leads in its place to how many', () => {
    const three = [to('routed', 'vxlan'), to('wireguard', 'wireguard'), to('routed', 'vxlan')];
    expect(fallbackOf(three)).toEqual([
      'mode auto falls back: vxlan in place of routed to 2 of 3 nodes; "culvert probe" on the node says why',
    ]);
  });
});

describe('choose()', () => {
  it.each<[string, WayMode, Heard, WayMode, string]>([
    [
      'the first that passes',
      'vxlan',
      heard(['routed', 'full'], ['vxlan', 'full']),
      'routed',
      'the first, and it passes',
    ],
    [
      'the next where it does not',
      'routed',
      heard(['routed', 'none'], ['vxlan', 'full']),
      'vxlan',
      'routed does not pass',
    ],
    [
      'one with room before a cheaper one without',
      'ipip',
      heard(['routed', 'none'], ['ipip', 'small'], ['vxlan', 'full']),
      'vxlan',
      'routed does not pass, ipip lets only small packets through',
    ],
    [
      'one without room where there is nothing else',
      'routed',
      heard(['routed', 'none'], ['ipip', 'small'], ['vxlan', 'none']),
      'ipip',
      'routed does not pass, nothing lets packets of full size through',
    ],
    [
      'the present one where nothing passes',
      'vxlan',
      heard(['routed', 'none'], ['vxlan', 'none']),
      'vxlan',
      'nothing passes: vxlan stays',
    ],
    [
      'the present one while nothing is known',
      'vxlan',
      heard(['routed', undefined], ['vxlan', undefined]),
      'vxlan',
      'nothing is known yet',
    ],
    [
      'not one that has not been heard of',
      'vxlan',
      heard(['routed', undefined], ['vxlan', 'full']),
      'vxlan',
      'routed has not been heard of',
    ],
  ])('takes %s', (_, present, known, way, why) => {
    expect(choose(present, known)).toEqual({ way, why });
  });
});

const following = (record: WayRecord, ...answers: [Passing, number][]): WayRecord =>
  answers.flatMap(([passing, times]) => Array<Passing>(times).fill(passing)).reduce(hear, record);

describe('hear()', () => {
  it.each<[string, [Passing, number][], Passing | undefined]>([
    ['believes the first answer', [['full', 1]], 'full'],
    ['gives a way that never answered three chances', [['none', 2]], undefined],
    ['then believes that it does not pass', [['none', 3]], 'none'],
    [
      'forgives two misses in a row',
      [
        ['full', 1],
        ['none', 2],
        ['full', 1],
        ['none', 2],
      ],
      'full',
    ],
    [
      'lets a way fall after three',
      [
        ['full', 1],
        ['none', 3],
      ],
      'none',
    ],
    [
      'lets it fall to what gets through still',
      [
        ['full', 1],
        ['small', 3],
      ],
      'small',
    ],
    [
      'does not believe nine answers of one that fell',
      [
        ['full', 1],
        ['none', 3],
        ['full', 9],
      ],
      'none',
    ],
    [
      'believes ten',
      [
        ['full', 1],
        ['none', 3],
        ['full', 10],
      ],
      'full',
    ],
    [
      'counts them anew after a miss',
      [
        ['full', 1],
        ['none', 3],
        ['full', 9],
        ['none', 1],
        ['full', 9],
      ],
      'none',
    ],
    [
      'asks for twice as many after a second fall',
      [
        ['full', 1],
        ['none', 3],
        ['full', 10],
        ['none', 3],
        ['full', 19],
      ],
      'none',
    ],
    [
      'and no more than those',
      [
        ['full', 1],
        ['none', 3],
        ['full', 10],
        ['none', 3],
        ['full', 20],
      ],
      'full',
    ],
    [
      'forgets falls of long ago',
      [
        ['full', 1],
        ['none', 3],
        ['full', 10],
        ['none', 3],
        ['full', 20],
        ['full', 600],
        ['none', 3],
        ['full', 10],
      ],
      'full',
    ],
  ])('%s', (_, answers, passing) => {
    expect(following(unheard, ...answers).passing).toBe(passing);
  });

  it('asks for 320 answers at most', () => {
    let record = unheard;
    for (let i = 0; i < 20; i++) record = following(record, ['full', 320], ['none', 3]);
    expect(following(record, ['full', 319]).passing).toBe('none');
    expect(following(record, ['full', 320]).passing).toBe('full');
  });
});

describe('addresses to probe by', () => {
  const nodes = (...names: string[]): ClusterNode[] => [
    ...new ViewDecoder().decode({
      nodes: names.map((name, i) => ({
        name,
        addresses: [`172.16.${(i + 1) >> 8}.${(i + 1) & 255}`],
        podCIDRs: [`10.${i >> 8}.${i & 255}.0/24`],
      })),
    }).nodes,
  ];

  it('are the same on every node, whatever the order, and differ by overlay', () => {
    const [a, b] = nodes('n1', 'n2') as [ClusterNode, ClusterNode];
    const [one, other] = [probeAddresses([a, b]), probeAddresses([b, a])];
    expect([one('vxlan')(a, 4), one('vxlan')(a, 6)]).toEqual([other('vxlan')(a, 4), other('vxlan')(a, 6)]);
    expect(one('vxlan')(a, 4)).toMatch(/^242\.\d+\.\d+\.\d+$/);
    expect(one('vxlan')(a, 6)).toMatch(/^fdc7:1c5a:77e1:2:/);
    const all = (['ipip', 'vxlan', 'wireguard'] as const).flatMap((way) => [one(way)(a, 4), one(way)(b, 4)]);
    expect(new Set(all).size).toBe(6);
  });

  it("are never two nodes' own, though 24 bits of a hash are", () => {
    const [a, b] = nodes('node10131', 'node368') as [ClusterNode, ClusterNode];
    const alone = [a, b].map((n) => probeAddresses([n])('vxlan')(n, 4));
    const together = [a, b].map((n) => probeAddresses([b, a])('vxlan')(n, 4));
    expect(alone[1]).toBe(alone[0]);
    expect(together[0]).toBe(alone[0]);
    expect(together[1]).not.toBe(alone[0]);
  });
});

const keyed: More = (i) => ({ publicKey: keyOf(i) });
const planOf = (set: Partial<NodeSettings>, stack: Stack = 'v4', more = keyed) =>
  planNode(viewOf(stack, stack, more), { ...settings, mode: 'auto', ...set }, host);

describe('mode auto, planned', () => {
  const auto = (chosen: [string, WayMode][] = []): Partial<NodeSettings> => ({
    auto: { candidates: settings.auto.candidates, chosen: new Map(chosen) },
  });
  const routeTo = (set: Partial<NodeSettings>, prefix: string) =>
    planOf(set).state.routes.find((r) => r.prefix === prefix);

  it('leads to each node by what was chosen for it, and by the last that can be had while nothing was', () => {
    expect(routeTo(auto(), '10.244.2.0/24')?.dev).toBe('culvert-wg');
    const set = auto([
      ['n2', 'routed'],
      ['n3', 'vxlan'],
    ]);
    expect(routeTo(set, '10.244.2.0/24')).toMatchObject({ dev: 'eth0', via: '192.168.1.12' });
    expect(routeTo(set, '10.244.3.0/24')?.dev).toBe('culvert-vxlan');
  });

  it.each<[Stack, number]>([
    ['v4', 32],
    ['v6', 128],
  ])('keeps all ways ready, each with a question and an answer of its own: %s', (stack, bits) => {
    const { ways, state } = planOf(auto([['n2', 'vxlan']]), stack);
    const [to2, to3] = ways as [(typeof ways)[0], (typeof ways)[0]];
    expect(to2.candidates.map((c) => c.way)).toEqual(['routed', 'ipip', 'vxlan', 'wireguard']);
    // n3 is behind a router that does not know the podCIDRs
    expect(to3.candidates.map((c) => c.way)).toEqual(['ipip', 'vxlan', 'wireguard']);
    expect(to3.lacking).toEqual([expect.stringMatching(/^routed: node "n3" at \S+ is behind the router/)]);
    const ipip = stack === 'v4' ? 'culvert-ipip' : 'culvert-ip6tnl';
    const devs = { routed: 'eth0', ipip, vxlan: 'culvert-vxlan', wireguard: 'culvert-wg' };
    for (const { way, probes } of to2.candidates) {
      const [probe] = probes;
      expect(probes).toEqual([{ family: stack === 'v4' ? 4 : 6, address: probe!.address, source: probe!.source }]);
      expect(state.addresses).toContainEqual({
        dev: way === 'routed' ? expect.stringMatching(/^culvert-/) : devs[way],
        address: `${probe!.source}/${bits}`,
      });
      expect(state.routes.find((r) => r.prefix === `${probe!.address}/${bits}`)).toMatchObject({ dev: devs[way] });
    }
    const { address } = to2.candidates[3]!.probes[0]!;
    expect(state.peers.find((p) => p.publicKey === keyOf(2))!.allowedIps).toContain(`,${address}/${bits}`);
  });

  it('has no way chosen that cannot be had any more', () => {
    expect(planOf(auto([['n3', 'routed']])).ways[1]!.carries).toBe('wireguard');
    expect(planOf(auto([['n3', 'wireguard']]), 'v4', () => ({})).ways[1]!.carries).toBe('vxlan');
  });

  it('names a node that nothing leads to, and no other', () => {
    const { problems } = planOf({ auto: { candidates: ['routed'] } });
    expect(problems).toEqual([
      {
        node: 'n3',
        text: expect.stringMatching(/^no way to node "n3" can be had: routed: node "n3" at .* is behind the router/),
      },
    ]);
  });

  it('leaves room for the widest wrapping of all candidates', () => {
    expect(planOf(auto()).mtuBytes).toBe(1440);
    expect(planOf({ auto: { candidates: ['routed', 'ipip'] } }).mtuBytes).toBe(1480);
  });

  it('asks for no more than the path to a node is known to carry', () => {
    const pathMtus = new Map([
      ['192.168.1.12', 1500],
      ['192.168.2.13', 1400],
    ]);
    const set = { ...settings, mode: 'auto' as const, auto: { candidates: ['vxlan' as const] } };
    const plan = planNode(viewOf('v4', 'v4'), set, { ...host, pathMtus });
    expect(plan.ways.map((w) => packetBytes(plan)(w.podCIDRs))).toEqual([1450, 1350]);
  });

  it('hides pods from nodes unless every way tells the node of them', () => {
    const nodes = (set: Partial<NodeSettings>) => /set nodes4 \{[^}]*\}/.exec(planOf(set).state.tables[0]!.text)![0];
    expect(nodes({ auto: { candidates: ['routed', 'vxlan'] } })).toContain('192.168.1.12');
    expect(nodes(auto())).not.toContain('192.168.1.12');
  });

  it('replaces nothing but routes when it moves, and makes no device anew', () => {
    const [before, later] = [planOf(auto([['n2', 'vxlan']]), 'dual'), planOf(auto([['n2', 'routed']]), 'dual')];
    const lines = diff(before.state, later.state).flatMap(render).map(asCommand);
    expect(lines.sort()).toEqual([
      'ip route delete 10.244.2.0/32 dev eth0 proto 67',
      'ip route delete fd00:244:2::/128 dev eth0 proto 67',
      'ip route replace 10.244.2.0/24 via 192.168.1.12 dev eth0 proto 67',
      'ip route replace fd00:244:2::/64 via fd01::12 dev eth0 proto 67',
    ]);
    expect(diff(emptyState(), later.state).length).toBeGreaterThan(0);
  });

  it('is accepted beside a mode that carries: its ways are probed, and none carries', () => {
    const before = planOf({ mode: 'vxlan' });
    const both = planOf({
      mode: 'vxlan',
      alsoAccept: { mode: 'auto', sameSubnet: 'tunnel' },
      ...auto([['n2', 'routed']]),
    });
    const toPods = (plan: typeof both) => plan.state.routes.filter((r) => r.prefix.endsWith('/24'));
    expect(toPods(both)).toEqual(toPods(before));
    expect(both.ways.map((w) => w.candidates.length)).toEqual([4, 3]);
    expect(both.probes).toEqual([]);
  });

  it('leaves the mode between sites alone', () => {
    const { ways, state } = planOf({ betweenSites: 'ipip', ...auto() }, 'v4', (i) => ({
      ...keyed(i),
      site: i === 3 ? 'b' : 'a',
    }));
    expect(ways.map((w) => w.node)).toEqual(['n2']);
    expect(state.routes.find((r) => r.prefix === '10.244.3.0/24')?.dev).toBe('culvert-ipip');
  });
});

describe('candidates', () => {
  const refusing =
    (...words: string[]): Exec =>
    (argv) =>
      words.some((w) => argv.includes(w))
        ? Promise.reject(new CommandError(argv, 2, 'Error: Unknown device type.', 'unsupported'))
        : Promise.resolve('');

  it('are those whose links this kernel has', async () => {
    expect(await ableCandidates(settings.auto, refusing('ip6tnl'))).toEqual({
      able: ['routed', 'vxlan', 'wireguard'],
      lacking: ['ipip: this kernel has no links of type ip6tnl'],
    });
  });

  it('are too few when there is none', async () => {
    await expect(ableCandidates({ candidates: ['wireguard'] }, refusing('wireguard'))).rejects.toThrow(
      'mode auto: none of its candidates can be had here: wireguard: this kernel has no links of type wireguard',
    );
  });

  it.each([[[]], [['vxlan', 'vxlan']], [['bgp']], ['vxlan']])('%j are refused in the configuration', (candidates) => {
    expect(() => decodeConfig({ mode: 'auto', auto: { candidates } })).toThrow(
      /auto\.candidates.*want a list of "routed", "ipip", "vxlan", "wireguard", each at most once/,
    );
  });
});

describe('what to do about a way that does not pass', () => {
  it.each<[Parameters<typeof adviceOn>[0], string[], RegExp]>([
    [
      'vxlan',
      ['10.0.0.2'],
      /^UDP port 8472 between 10\.0\.0\.1 and 10\.0\.0\.2 does not arrive, .*: open it in the firewall/,
    ],
    ['wireguard', ['10.0.0.2'], /^UDP port 51820 /],
    ['ipip', ['10.0.0.2'], /^IP protocol 4 between/],
    ['ipip', ['fd00::2'], /^IP protocols 4 \(IPv4\) and 41 \(IPv6\)/],
    ['bgp', ['10.0.0.2'], /^TCP port 179 /],
    ['routed', ['10.0.0.2'], /^packets with pods' own addresses .*: switch off the network's check/],
  ])('%s to %s', (mode, to, text) => {
    expect(adviceOn(mode, { ...settings, vxlan: { id: 1, port: 8472 } }, ['10.0.0.1'], to)).toMatch(text);
  });
});

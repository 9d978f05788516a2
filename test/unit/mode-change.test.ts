import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  type Answer,
  ChangeError,
  type ChangeParts,
  changeTraffic,
  lackOf,
  type TrafficPlace,
} from '../../src/agent/mode-change.ts';
import { parseYaml } from '../../src/cluster/document.ts';
import { withTrafficText } from '../../src/cluster/edit.ts';
import { NodeList } from '../../src/cluster/node-list.ts';
import { ViewDecoder } from '../../src/cluster/view.ts';
import { birdMetric } from '../../src/plan/bgp.ts';
import { dueOf, formatTraffic, type Phase, type Said, spelled, stepsTo } from '../../src/plan/change.ts';
import type { ClusterTraffic, Mode, Traffic } from '../../src/plan/cluster.ts';
import { diff } from '../../src/plan/diff.ts';
import { planNode } from '../../src/plan/node.ts';
import { asCommand, render } from '../../src/plan/render.ts';
import type { NodeSettings } from '../../src/plan/settings.ts';
import { replaceFile } from '../../src/store/files.ts';
import { host, keyOf, settings, viewOf } from '../support/cluster.ts';

const of = (mode: Mode, more: Partial<Traffic> = {}): Traffic => ({ mode, sameSubnet: 'tunnel', ...more });
const [vxlan, routed, wireguard] = [of('vxlan'), of('routed'), of('wireguard')];

describe('stepsTo()', () => {
  it.each<[string, Traffic, ClusterTraffic, [Phase, ClusterTraffic][] | undefined]>([
    [
      'from one to another',
      wireguard,
      vxlan,
      [
        ['accept', { ...vxlan, alsoAccept: wireguard }],
        ['switch', { ...wireguard, alsoAccept: vxlan }],
        ['done', wireguard],
      ],
    ],
    ['nowhere: for all to confirm', vxlan, vxlan, [['done', vxlan]]],
    [
      'on from the first step',
      wireguard,
      { ...vxlan, alsoAccept: wireguard },
      [
        ['accept', { ...vxlan, alsoAccept: wireguard }],
        ['switch', { ...wireguard, alsoAccept: vxlan }],
        ['done', wireguard],
      ],
    ],
    [
      'on from the switch',
      wireguard,
      { ...wireguard, alsoAccept: vxlan },
      [
        ['switch', { ...wireguard, alsoAccept: vxlan }],
        ['done', wireguard],
      ],
    ],
    [
      'back from the switch: all on the old way again before the new one goes',
      vxlan,
      { ...wireguard, alsoAccept: vxlan },
      [
        ['accept', { ...wireguard, alsoAccept: vxlan }],
        ['switch', { ...vxlan, alsoAccept: wireguard }],
        ['done', vxlan],
      ],
    ],
    ['aside while a change is on its way', routed, { ...vxlan, alsoAccept: wireguard }, undefined],
  ])('%s', (_name, target, current, steps) => {
    expect(stepsTo(target, current)?.map((s) => [s.phase, s.traffic])).toEqual(steps);
  });

  it('takes the same said in other words for the same', () => {
    const current = of('vxlan', { betweenSites: 'vxlan' });
    expect(stepsTo(vxlan, current)).toEqual([{ phase: 'done', traffic: vxlan }]);
    expect(formatTraffic(of('routed', { betweenSites: 'wireguard', sameSubnet: 'direct' }))).toBe(
      'routed (between sites wireguard, same subnet direct)',
    );
  });
});

describe('dueOf()', () => {
  const change = { ...vxlan, alsoAccept: wireguard };
  const takenBack = { wanted: routed, because: 'n2: down' };

  it.each<[string, Said, Traffic | undefined]>([
    ['nothing is wanted', { traffic: vxlan }, undefined],
    ['nobody has said what there is', { wanted: routed }, routed],
    ['it is as wanted', { traffic: routed, wanted: routed }, undefined],
    ['it is not', { traffic: vxlan, wanted: routed }, routed],
    ['a change to there is on its way', { traffic: change, wanted: wireguard }, wireguard],
    ['back again is wanted', { traffic: change, wanted: vxlan }, vxlan],
    ['a change to elsewhere is on its way: that first', { traffic: change, wanted: routed }, vxlan],
    ['it did not get through', { traffic: vxlan, wanted: routed, takenBack }, undefined],
    ['something else did not get through', { traffic: vxlan, wanted: wireguard, takenBack }, wireguard],
  ])('%s', (_name, said, due) => {
    expect(dueOf(said)).toEqual(due);
  });
});

const keyed = (i: number) => ({ publicKey: keyOf(i) });
const plan = (set: Partial<NodeSettings>) =>
  planNode(viewOf('dual', 'dual', keyed), { ...settings, behindRouter: 'gateway', ...set }, host);
const podRoutes = (set: Partial<NodeSettings>) => plan(set).state.routes.filter((r) => /0\/24$|::\/64$/.test(r.prefix));
const linesTo = (from: Partial<NodeSettings>, to: Partial<NodeSettings>): string[] =>
  diff(plan(from).state, plan(to).state).flatMap(render).map(asCommand);

const kinds = [vxlan, of('vxlan', { sameSubnet: 'direct' }), of('ipip'), wireguard, routed];
const pairs = kinds.flatMap((from) => kinds.filter((to) => to !== from).map((to) => [from, to] as const));

describe('the plan of a node during a change', () => {
  it.each(pairs)('%o → %o: sends as before, then as after, and takes in both', (from, to) => {
    const [accept, flipped] = [plan({ ...from, alsoAccept: to }), plan({ ...to, alsoAccept: from })];
    expect(podRoutes({ ...from, alsoAccept: to })).toEqual(podRoutes(from));
    expect(podRoutes({ ...to, alsoAccept: from })).toEqual(podRoutes(to));
    for (const key of ['links', 'neighbours', 'fdb', 'peers'] as const) {
      const names = (state: typeof accept.state) =>
        new Set(state[key].map((item) => JSON.stringify({ ...item, mtu: 0 })));
      const both = new Set([...names(plan(from).state), ...names(plan(to).state)]);
      expect(names(accept.state)).toEqual(both);
      expect(accept.state[key]).toHaveLength(both.size);
      expect(names(flipped.state)).toEqual(both);
    }
    const mtus = [plan(from).mtuBytes, plan(to).mtuBytes];
    expect([accept.mtuBytes, flipped.mtuBytes]).toEqual([Math.min(...mtus), Math.min(...mtus)]);
  });

  it.each(pairs)('%o → %o: nothing goes before the last step', (from, to) => {
    const lines = [
      ...linesTo(from, { ...from, alsoAccept: to }),
      ...linesTo({ ...from, alsoAccept: to }, { ...to, alsoAccept: from }),
    ];
    expect(lines.filter((l) => /^ip link delete|^bridge fdb delete|^wg .* remove/.test(l))).toEqual([]);
    expect(lines.filter((l) => /route delete 10\.244\.\d\.0\/24/.test(l))).toEqual([]);
  });

  it('lets BIRD bring its routes behind those of another mode, which then go, and come first', () => {
    const bgp = of('bgp');
    expect(plan({ ...vxlan, alsoAccept: bgp }).bgp?.missing.map((m) => m.node)).toEqual(['n2', 'n3']);
    expect(podRoutes({ ...vxlan, alsoAccept: bgp })).toEqual(podRoutes(vxlan));
    expect(podRoutes({ ...bgp, alsoAccept: vxlan })).toEqual([]);
    expect(plan({ ...bgp, alsoAccept: vxlan }).bgp?.configuration).toBe(plan(bgp).bgp?.configuration);
    expect(plan(vxlan).bgp).toBeUndefined();
  });

  it('tries what BIRD has brought before a pod takes it', () => {
    const brought = [
      { prefix: '10.244.2.0/24', via: '192.168.1.12', dev: 'eth0', protocol: 'bird', metric: birdMetric },
    ];
    const facts = { ...host, routes: [...host.routes, ...brought] };
    const { state, probes } = planNode(
      viewOf('dual', 'dual', keyed),
      { ...settings, ...vxlan, alsoAccept: of('bgp') },
      facts,
    );
    expect(probes).toEqual([{ node: 'n2', address: '10.244.2.0' }]);
    expect(state.routes).toContainEqual({ prefix: '10.244.2.0/32', via: '192.168.1.12', dev: 'eth0', protocol: '67' });
  });

  it('leads only the addresses that are tried the new way', () => {
    const { state, probes } = plan({ ...vxlan, alsoAccept: routed });
    expect(probes.map((p) => p.address)).toEqual(['10.244.2.0', 'fd00:244:2::', '10.244.3.0', 'fd00:244:3::']);
    expect(state.routes).toContainEqual({ prefix: '10.244.2.0/32', via: '192.168.1.12', dev: 'eth0', protocol: '67' });
    expect(state.routes).toContainEqual({ prefix: 'fd00:244:3::/128', via: 'fd01::1', dev: 'eth0', protocol: '67' });
  });

  it('tries nothing where the ways are the same', () => {
    const { probes } = plan({ ...vxlan, alsoAccept: of('vxlan', { sameSubnet: 'direct' }) });
    expect(probes.map((p) => p.node)).toEqual(['n2', 'n2']);
  });

  it('goes on as before when the new way cannot be had, and says so', () => {
    const none = { ...settings.wireguard, keys: undefined };
    const { state, problems } = plan({ ...vxlan, alsoAccept: wireguard, wireguard: none });
    expect(state.routes).toEqual(plan(vxlan).state.routes);
    expect(problems).toEqual([
      {
        text: 'alsoAccept: this node has no WireGuard key yet; "culvert keys" makes one, and so does the agent',
        alsoAccept: true,
      },
    ]);
    const refused = plan({ ...vxlan, alsoAccept: routed, behindRouter: 'refuse' }).problems;
    expect(refused.map((p) => [p.node, p.alsoAccept])).toEqual([
      ['n3', true],
      ['n3', true],
    ]);
  });

  it('masks what pods send to nodes that could not answer one of the two ways', () => {
    const nodes = (set: Partial<NodeSettings>) => /set nodes4 \{[^}]*\}/.exec(plan(set).state.tables[0]!.text)?.[0];
    expect(nodes(vxlan)).toContain('192.168.1.12');
    expect(nodes({ ...vxlan, alsoAccept: wireguard })).not.toContain('192.168.1.12');
  });
});

const block = `# our nodes
nodes:
  # the first
  - name: n1
    addresses: [192.168.1.11]   # wired
    podCIDRs: [10.244.1.0/24]
`;

describe('a cluster file', () => {
  const change: ClusterTraffic = { ...vxlan, alsoAccept: routed };
  const line = 'traffic: { mode: vxlan, sameSubnet: tunnel, alsoAccept: { mode: routed, sameSubnet: tunnel } }\n';

  it.each<[string, string, string]>([
    ['that says no traffic', block, `# our nodes\n${line}${block.slice(12)}`],
    ['in one line', `traffic: {mode: ipip} # ours\n${block}`, `${line.trim()} # ours\n${block}`],
    ['in lines', `traffic:\n  mode: ipip\n${block}`, `${line}${block}`],
    ['after the nodes', `${block}traffic:\n  mode: ipip\n`, `${block}${line}`],
    [
      'in JSON',
      '{"nodes": [{"name":"n1","addresses":["192.168.1.11"],"podCIDRs":["10.244.1.0/24"]}]}',
      `{"traffic": ${JSON.stringify(change)}, "nodes": [{"name":"n1","addresses":["192.168.1.11"],"podCIDRs":["10.244.1.0/24"]}]}`,
    ],
  ])('%s keeps every other byte', (_name, text, want) => {
    const written = withTrafficText(text, change, 'cluster.yaml');
    expect(written).toBe(want);
    expect(new ViewDecoder().decode(parseYaml(written, '')).traffic).toEqual(change);
    expect(new ViewDecoder().decode(new NodeList().parse(written, '')).traffic).toEqual(change);
    const back = withTrafficText(written, vxlan, 'cluster.yaml');
    expect(new ViewDecoder().decode(parseYaml(back, '')).traffic).toEqual(vxlan);
    expect(withTrafficText(back, change, 'cluster.yaml')).toBe(written);
  });

  it('that is wrong is not written', () => {
    expect(() => withTrafficText('nodes: 1\n', change, 'f')).toThrow('nodes: got 1, want a list of nodes');
    expect(() => withTrafficText('- 1\n', change, 'f')).toThrow('f: got no mapping, want a cluster file with nodes');
  });

  it('names what is wrong with its traffic, with the rest', () => {
    const decode = (traffic: unknown) => () => new ViewDecoder().decode({ traffic, nodes: [] });
    expect(decode('vxlan')).toThrow('traffic: got "vxlan", want an object with mode, betweenSites and sameSubnet');
    expect(decode({ mode: 'ospf' })).toThrow('traffic.mode: got "ospf", want one of "vxlan"');
    const between = { mode: 'vxlan', betweenSites: 'bgp' };
    expect(decode(between)).toThrow('traffic.betweenSites: got "bgp", want one of "vxlan", "ipip"');
    expect(decode({ mode: 'ipip', alsoAccept: {} })).toThrow('traffic.alsoAccept.mode: got nothing, want one of');
  });

  it('is replaced whole, with its rights, through a symbolic link', () => {
    const dir = mkdtempSync(join(tmpdir(), 'culvert-'));
    const [file, link] = [join(dir, 'real.yaml'), join(dir, 'cluster.yaml')];
    writeFileSync(file, block, { mode: 0o640 });
    symlinkSync('real.yaml', link);
    replaceFile(link, `${line}${block}`);
    expect(readFileSync(file, 'utf8')).toBe(`${line}${block}`);
    expect(statSync(file).mode & 0o777).toBe(0o640);
    rmSync(dir, { recursive: true });
  });
});

/** A cluster whose nodes take up what is written at once, as far as they are not down. */
function cluster(
  start: ClusterTraffic | undefined,
  behave: (node: string, written: number) => Partial<Answer & object> | string = () => ({}),
) {
  const { nodes } = viewOf('v4', 'v4', keyed);
  let traffic = start;
  const written: ClusterTraffic[] = [];
  const said: string[] = [];
  const place: TrafficPlace = {
    title: 'cluster file',
    keyHint: 'run "culvert keys"',
    read: () => ({ nodes, ...(traffic && { traffic }), digest: JSON.stringify(traffic) ?? '' }),
    async write(next) {
      written.push(next);
      traffic = next;
    },
    remarks: () => [],
  };
  const parts: ChangeParts = {
    place,
    async ask({ name }) {
      const how = behave(name, written.length);
      if (typeof how === 'string') return how;
      const cluster = JSON.stringify(traffic) ?? '';
      const lists = { softwareChecksums: [], notAccepted: [], unanswered: [], ways: [], problems: [] };
      return { node: name, cluster, traffic: traffic ?? vxlan, mtu: 1450, ...lists, ...how };
    },
    say: (text) => void said.push(text),
    timeoutMs: 0,
    settleMs: 0,
    probe: true,
  };
  return { parts, written, said, set: (t: ClusterTraffic) => (traffic = t) };
}

const accept: ClusterTraffic = { ...vxlan, alsoAccept: routed };
const flipped: ClusterTraffic = { ...routed, alsoAccept: vxlan };

describe('changeTraffic()', () => {
  it('writes step by step, from what the nodes say when the file says nothing', async () => {
    const { parts, written, said } = cluster(undefined);
    expect(await changeTraffic(routed, parts)).toEqual([]);
    expect(written).toEqual([accept, flipped, routed]);
    expect(said.filter((l) => !l.startsWith(' '))).toEqual([
      'accept: vxlan carries, routed is accepted too',
      'switch: routed carries, vxlan is still accepted',
      'done: routed alone',
    ]);
  });

  it.each<[string, number, string | object, ClusterTraffic[]]>([
    ['a node is down in the first step', 1, 'is down', [accept, vxlan]],
    ['a node cannot have the new way', 1, { notAccepted: ['no'] }, [accept, vxlan]],
    ['nodes do not reach each other the new way', 1, { unanswered: ['n3 at 10.244.3.0'] }, [accept, vxlan]],
    ['a node is down at the switch: nothing goes that it may use', 2, 'is down', [accept, flipped, accept]],
    ['a node is down at the end', 3, 'is down', [accept, flipped, routed]],
  ])('%s', async (_name, from, how, steps) => {
    const { parts, written, said } = cluster(vxlan, (node, n) => (node === 'n2' && n >= from ? (how as string) : {}));
    expect(await changeTraffic(routed, parts)).toContainEqual(expect.stringMatching(/^n\d: /));
    expect(written).toEqual(steps);
    expect(said.join('\n')).toMatch(/ {2}n2: (is down|no)/);
  });

  it('takes a switch back to the end when the node answers again', async () => {
    const { parts, written } = cluster(vxlan, (node, n) => (node === 'n2' && n === 2 ? 'is down' : {}));
    expect(await changeTraffic(routed, parts)).toContainEqual(expect.stringMatching(/^n\d: /));
    expect(written).toEqual([accept, flipped, accept, vxlan]);
  });

  it('does not drop the new way when an earlier attempt may have switched', async () => {
    const { parts, written } = cluster(accept, (node) => (node === 'n2' ? 'is down' : {}));
    expect(await changeTraffic(routed, parts)).toContainEqual(expect.stringMatching(/^n\d: /));
    expect(written).toEqual([]);
  });

  it('stops when somebody else writes', async () => {
    const { parts, set } = cluster(vxlan, (_node, n) => {
      if (n === 1) set(wireguard);
      return 'is down';
    });
    await expect(changeTraffic(routed, { ...parts, timeoutMs: 1000 })).rejects.toThrow('somebody else has changed');
  });

  it('writes nothing over what somebody else has written between two steps', async () => {
    const { parts, written, set } = cluster(vxlan);
    const say = (line: string) => {
      if (written.length === 2 && line.includes('3 of 3')) set(accept);
    };
    await expect(changeTraffic(routed, { ...parts, say })).rejects.toThrow('somebody else has changed');
    expect(written).toEqual([accept, flipped]);
  });

  it('writes nothing over what somebody else has written while the nodes were asked', async () => {
    const { parts, written, set } = cluster(undefined, () => {
      set(wireguard);
      return {};
    });
    await expect(changeTraffic(routed, parts)).rejects.toThrow('somebody else has changed');
    expect(written).toEqual([]);
  });

  it('begins nothing without keys, without agreement, or beside another change', async () => {
    const lone = cluster(undefined, (node) => (node === 'n3' ? { traffic: routed } : {}));
    await expect(changeTraffic(routed, lone.parts)).rejects.toThrow('n1 has vxlan, n3 has routed');
    const silent = cluster(undefined, (node) => (node === 'n3' ? 'is down' : {}));
    await expect(changeTraffic(routed, silent.parts)).rejects.toThrow(ChangeError);
    await expect(changeTraffic(of('ipip'), cluster(accept).parts)).rejects.toThrow(
      'between vxlan and routed is under way',
    );
    for (const c of [lone, silent]) expect(c.written).toEqual([]);
  });

  it('believes no node that has read another file', () => {
    const lists = { softwareChecksums: [], notAccepted: [], unanswered: [], ways: [], problems: [] };
    const answer = { node: 'n1', cluster: 'a', traffic: spelled(vxlan), mtu: 1450, ...lists };
    expect(lackOf(answer, 'b', 'done', true)).toEqual({ text: 'has not taken this step up yet' });
    expect(lackOf(answer, 'a', 'done', true)).toBeUndefined();
  });
});

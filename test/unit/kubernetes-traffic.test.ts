/** The ConfigMap with a cluster's traffic: what is read of it, what nodes tell each other they have read, and that it is written only by who has seen it. */

import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { placeOf } from '../../src/agent/source.ts';
import { kubernetesTraffic } from '../../src/agent/traffic-place.ts';
import { FileSource } from '../../src/cluster/file.ts';
import { seenOf } from '../../src/cluster/kubernetes/cluster.ts';
import { annotations, type NodeObject, readNode, withPublicKey } from '../../src/cluster/kubernetes/node.ts';
import { type MapObject, readMap, remarksOn } from '../../src/cluster/kubernetes/traffic-map.ts';
import { NodeJudge } from '../../src/cluster/kubernetes/view.ts';
import type { ClusterTraffic } from '../../src/plan/cluster.ts';
import { keyOf } from '../support/cluster.ts';

const mapWith = (data?: Record<string, string>, resourceVersion = '7'): MapObject => ({
  metadata: { name: 'culvert-traffic', resourceVersion },
  ...(data && { data }),
});
const read = (data?: Record<string, string>) => readMap(mapWith(data), 'ConfigMap a/b data');

describe('readMap()', () => {
  it('takes traffic as a cluster file has it, in YAML or JSON; without it nobody has said', () => {
    const vxlan = { mode: 'vxlan', sameSubnet: 'tunnel' };
    expect(read({ traffic: 'mode: vxlan\n' }).traffic).toEqual(vxlan);
    expect(read({ traffic: '{"mode":"routed","alsoAccept":{"mode":"vxlan"}}' }).traffic).toEqual({
      mode: 'routed',
      sameSubnet: 'tunnel',
      alsoAccept: vxlan,
    });
    for (const data of [undefined, { other: 'x' }]) {
      expect(read(data)).toEqual({ traffic: undefined, wanted: undefined, takenBack: undefined });
    }
  });

  it('takes what people want from keys of its own, and what agents have written of that', () => {
    const wanted = { mode: 'routed', betweenSites: 'wireguard', sameSubnet: 'tunnel' };
    const takenBack = JSON.stringify({ wanted, because: 'n2: down' });
    expect(read({ mode: 'routed', betweenSites: 'wireguard', takenBack })).toEqual({
      traffic: undefined,
      wanted,
      takenBack: { wanted, because: 'n2: down' },
    });
    for (const wrong of ['', '{', '{"wanted":{"mode":"x"}}'])
      expect(read({ takenBack: wrong }).takenBack).toBeUndefined();
  });

  it('leaves alone what it does not know, with a remark', () => {
    expect(remarksOn(mapWith({ mode: 'vxlan', sameSubnets: 'direct' }), 'ConfigMap a/b data')).toEqual([
      'ConfigMap a/b data.sameSubnets: unknown key, ignored; did you mean "sameSubnet"?',
    ]);
    expect(remarksOn(mapWith(), 'ConfigMap a/b data')).toEqual([]);
  });

  it.each([
    [{ mode: 'ospf' }, 'ConfigMap a/b data.mode: got "ospf", want one of "vxlan"'],
    [{ sameSubnet: 'direct' }, 'ConfigMap a/b data.mode: got nothing, want one of'],
    [{ mode: 'vxlan', sameSubnet: 'x' }, 'ConfigMap a/b data.sameSubnet: got "x", want "tunnel" or "direct"'],
  ])('%o is refused by key, value and what was expected', (data, message) => {
    expect(() => read(data as Record<string, string>)).toThrow(message);
  });

  it.each([
    ['mode: ospf', 'ConfigMap a/b data.traffic.mode: got "ospf", want one of "vxlan"'],
    ['vxlan', 'ConfigMap a/b data.traffic: got "vxlan", want an object with mode'],
    ['{ mode: vxlan, alsoAccept: {} }', 'ConfigMap a/b data.traffic.alsoAccept.mode: got nothing, want one of'],
    ['mode: [', 'ConfigMap a/b data.traffic, line 1, column'],
  ])('%s is refused by key, value and what was expected', (traffic, message) => {
    expect(() => read({ traffic })).toThrow(message);
  });
});

const object = (i: number, more: Partial<NodeObject> = {}): NodeObject => ({
  metadata: { name: `n${i}`, annotations: { [annotations.publicKey]: keyOf(i) } },
  spec: { podCIDRs: [`10.244.${i}.0/24`, `fd00:244:${i}::/64`] },
  status: {
    addresses: [
      { type: 'InternalIP', address: `192.168.1.${i}` },
      { type: 'InternalIP', address: `fd77::${i}` },
    ],
  },
  ...more,
});
const seen = (objects: readonly NodeObject[], traffic?: ClusterTraffic) =>
  seenOf(new Map(objects.map((o) => [o.metadata.name, readNode(o)])), traffic, new NodeJudge());
const digest = (...args: Parameters<typeof seen>) => seen(...args).view.digest;
const routed = { mode: 'routed', sameSubnet: 'tunnel' } as const;

describe('the digest of a cluster', () => {
  const three = [1, 2, 3].map((i) => object(i));

  it('is the same in whatever order nodes were learnt, and of a file that was kept', () => {
    const orders = [three, three.toReversed(), [three[1]!, three[2]!, three[0]!]];
    expect(new Set(orders.map((order) => digest(order, routed))).size).toBe(1);
    const dir = mkdtempSync(join(tmpdir(), 'culvert-'));
    const file = join(dir, 'cluster.json');
    writeFileSync(file, seen(three, routed).text);
    expect(new FileSource(file).read()).toEqual(seen(three, routed).view);
    rmSync(dir, { recursive: true });
  });

  it('is that of the node itself, which knows its own key before its Node does', () => {
    const name = 'n1';
    const before = object(1, { metadata: { name, annotations: { [annotations.site]: 'east' } } });
    const after = { [annotations.site]: 'east', [annotations.publicKey]: keyOf(1) };
    const found = new Map([[name, withPublicKey(readNode(before), keyOf(1))]]);
    const own = seenOf(found, undefined, new NodeJudge()).view.digest;
    expect(own).toBe(digest([object(1, { metadata: { name, annotations: after } })]));
  });

  it('does not move with heartbeats, nor with nodes that have no podCIDR yet', () => {
    const beats = { conditions: [{ type: 'Ready', lastHeartbeatTime: '2026-01-01T00:00:00Z' }] };
    const beaten = object(1, { status: { ...object(1).status, ...beats } });
    const metadata = { ...object(2).metadata, resourceVersion: '99' };
    expect(digest([beaten, object(2, { metadata }), three[2]!, object(4, { spec: {} })])).toBe(digest(three));
  });

  it('moves with the traffic and with what counts of a node', () => {
    const readdressed = object(3, { status: { addresses: [{ type: 'InternalIP', address: '192.168.1.9' }] } });
    const all = [
      digest(three),
      digest(three, routed),
      digest(three, { ...routed, alsoAccept: { ...routed, mode: 'vxlan' } }),
    ];
    expect(new Set([...all, digest([...three.slice(0, 2), readdressed])]).size).toBe(4);
  });
});

/** As much of an API server as writes a ConfigMap by compare-and-swap; test/kube has a real one. */
class FakeServer {
  map: MapObject | undefined = mapWith(undefined, '7');

  get data(): MapObject['data'] {
    return this.map?.data;
  }

  version = 7;
  isForbidden = false;
  readonly #server: Server = createServer((request, response) => void this.#answer(request, response));
  readonly #watchers: ServerResponse[] = [];
  readonly #told: string[] = [];

  async start(dir: string): Promise<string> {
    await once(this.#server.listen(0, '127.0.0.1'), 'listening');
    const { port } = this.#server.address() as AddressInfo;
    const file = join(dir, 'kubeconfig');
    const cluster = { server: `http://127.0.0.1:${port}`, 'insecure-skip-tls-verify': true };
    const config = { clusters: [{ name: 'c', cluster }], users: [{ name: 'u', user: {} }] };
    const contexts = [{ name: 'x', context: { cluster: 'c', user: 'u' } }];
    writeFileSync(file, JSON.stringify({ ...config, contexts, 'current-context': 'x' }));
    return file;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  /** By somebody else. */
  set(data: Record<string, string>, isTold: boolean): void {
    this.map = mapWith(data, String(++this.version));
    if (!isTold) return;
    const line = `${JSON.stringify({ type: 'MODIFIED', object: this.map })}\n`;
    this.#told.push(line);
    for (const watcher of this.#watchers) watcher.write(line);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url!, 'http://server');
    const say = (status: number, body: object): void => void response.writeHead(status).end(JSON.stringify(body));
    const isMap = pathname.startsWith('/api/v1/namespaces/culvert-system/configmaps');
    const list = (items: object[]) => ({ metadata: { resourceVersion: String(this.version) }, items });
    if (request.method !== 'GET') {
      const body = (await json(request)) as MapObject;
      const has = request.method === 'POST' ? undefined : body.metadata.resourceVersion;
      if (has !== this.map?.metadata.resourceVersion) return say(409, { message: 'the object has been modified' });
      const data = Object.entries({ ...this.map?.data, ...body.data }).filter(([, text]) => text !== null);
      this.map = mapWith(Object.fromEntries(data), String(++this.version));
      return say(200, this.map);
    }
    if (isMap && this.isForbidden) return say(403, { message: 'configmaps "culvert-traffic" is forbidden' });
    if (isMap) expect(searchParams.get('fieldSelector')).toBe('metadata.name=culvert-traffic');
    if (!searchParams.has('watch')) return say(200, list(isMap ? (this.map ? [this.map] : []) : [object(1)]));
    response.writeHead(200).flushHeaders();
    if (!isMap) return;
    this.#watchers.push(response);
    for (const line of this.#told) response.write(line);
  }
}

describe('the ConfigMap of a cluster', () => {
  const vxlan: ClusterTraffic = { mode: 'vxlan', sameSubnet: 'tunnel' };
  let dir: string;
  let server: FakeServer;
  let open: () => ReturnType<typeof kubernetesTraffic>;

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'culvert-'));
    server = new FakeServer();
    const kubeconfig = await server.start(dir);
    open = () => kubernetesTraffic(placeOf({ kubeconfig }));
  });
  afterEach(async () => {
    await server.stop();
    rmSync(dir, { recursive: true });
  });

  it('is written, and what was written is read at once', async () => {
    await using place = await open();
    expect(place.read()).toMatchObject({ nodes: [{ name: 'n1' }] });
    expect(place.read().traffic).toBeUndefined();
    server.set({ other: 'stays' }, true);
    await expect
      .poll(async () => {
        await place.write({ ...vxlan, alsoAccept: routed }).catch(() => {});
        return place.read().traffic;
      })
      .toEqual({ ...vxlan, alsoAccept: routed });
    await place.write(routed);
    expect(place.read().traffic).toEqual(routed);
    expect(server.data).toEqual({ other: 'stays', traffic: JSON.stringify(routed), ...routed });
  });

  it('wants nothing of the agents while a change by hand is on its way, and then what there is', async () => {
    server.map = mapWith({ mode: 'ipip', betweenSites: 'vxlan', traffic: 'mode: vxlan' });
    await using place = await open();
    expect(place.remarks()).toEqual([
      'ipip (between sites vxlan) is wanted; the agent of the first node brings that about',
    ]);
    await place.write({ ...vxlan, alsoAccept: routed });
    expect(Object.keys(server.data ?? {})).toEqual(['traffic']);
    await place.write(routed);
    expect(server.data).toEqual({ traffic: JSON.stringify(routed), ...routed });
    expect(place.remarks()).toEqual([]);
  });

  it('is made when there is none', async () => {
    server.map = undefined;
    await using place = await open();
    expect(place.read().traffic).toBeUndefined();
    await place.write(vxlan);
    expect(server.data).toMatchObject({ traffic: JSON.stringify(vxlan) });
  });

  it('that somebody else has written since is left alone', async () => {
    await using place = await open();
    server.set({ traffic: 'mode: ipip' }, false);
    await expect(place.write(vxlan)).rejects.toThrow(
      'somebody else has changed the traffic of the ConfigMap culvert-system/culvert-traffic',
    );
    expect(server.data).toEqual({ traffic: 'mode: ipip' });
  });

  it('that becomes wrong says so to who reads, until it is right', async () => {
    await using place = await open();
    server.set({ traffic: 'mode: ospf' }, true);
    const why = (): string => {
      try {
        return place.read().traffic?.mode ?? '';
      } catch (error) {
        return (error as Error).message;
      }
    };
    await expect.poll(why).toContain('data.traffic.mode: got "ospf"');
    server.set({ traffic: 'mode: ipip' }, true);
    await expect.poll(why).toBe('ipip');
    server.version = 3; // as an event that comes late
    server.set({ traffic: 'mode: vxlan' }, true);
    await sleep(50);
    expect(why()).toBe('ipip');
  });

  it('that cannot be read ends the command with what the server said', async () => {
    server.isForbidden = true;
    await expect(open()).rejects.toThrow(/refuses our requests since .*HTTP 403: configmaps "culvert-traffic"/);
  });
});

import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { readList } from '../../src/cluster/kubernetes/list.ts';
import { annotations, type NodeObject, readNode } from '../../src/cluster/kubernetes/node.ts';
import { NodeJudge } from '../../src/cluster/kubernetes/view.ts';
import { keyOf } from '../support/cluster.ts';

const object = (i: number, more: Partial<NodeObject> = {}): NodeObject => ({
  metadata: { name: `n${i}`, creationTimestamp: `2026-01-0${i}T00:00:00Z` },
  spec: { podCIDR: `10.244.${i}.0/24`, podCIDRs: [`10.244.${i}.0/24`, `fd00:244:${i}::/64`] },
  status: {
    addresses: [
      { type: 'Hostname', address: `n${i}` },
      { type: 'ExternalIP', address: `203.0.113.${i}` },
      { type: 'ExternalIP', address: `2001:db8::${i}` },
      { type: 'InternalIP', address: `192.168.1.${i}` },
      { type: 'InternalIP', address: `192.168.9.${i}` },
    ],
  },
  ...more,
});

describe('readNode()', () => {
  it('takes of each family the first InternalIP, else the first ExternalIP, and all podCIDRs', () => {
    expect(readNode(object(1))).toEqual({
      entry: { name: 'n1', addresses: ['192.168.1.1', '2001:db8::1'], podCIDRs: ['10.244.1.0/24', 'fd00:244:1::/64'] },
      created: '2026-01-01T00:00:00Z',
    });
  });

  it('takes podCIDR of a server that knows no podCIDRs, and has none of a Node without', () => {
    expect(readNode(object(1, { spec: { podCIDR: '10.244.1.0/24' } })).entry.podCIDRs).toEqual(['10.244.1.0/24']);
    expect(readNode(object(1, { spec: {} })).entry.podCIDRs).toEqual([]);
    expect(readNode({ metadata: { name: 'n1' } }).entry).toEqual({ name: 'n1', addresses: [], podCIDRs: [] });
  });

  it('takes the annotations as keys of the cluster file, and addresses above the status', () => {
    const metadata = {
      name: 'n1',
      annotations: {
        [annotations.addresses]: '10.0.0.1, fd00::1',
        [annotations.publicKey]: keyOf(1),
        [annotations.site]: 'east',
        [annotations.as]: '64513',
        [annotations.routeReflector]: 'true',
        'other/annotation': 'x',
      },
    };
    expect(readNode(object(1, { metadata })).entry).toEqual({
      name: 'n1',
      addresses: ['10.0.0.1', 'fd00::1'],
      podCIDRs: ['10.244.1.0/24', 'fd00:244:1::/64'],
      publicKey: keyOf(1),
      site: 'east',
      as: 64513,
      routeReflector: true,
    });
  });
});

const judge = (...objects: NodeObject[]) => {
  const { nodes, leftOut } = new NodeJudge().judge(objects.map(readNode));
  return { nodes: nodes.map((n) => n.name), leftOut: Object.fromEntries(leftOut) };
};

describe('NodeJudge', () => {
  it('takes nodes that are right, by name', () => {
    expect(judge(object(2), object(1))).toEqual({ nodes: ['n1', 'n2'], leftOut: {} });
  });

  it('leaves out what is wrong in itself, with what was expected, and no other', () => {
    const wrong = { name: 'n2', annotations: { [annotations.as]: 'many', [annotations.publicKey]: 'short' } };
    const { nodes, leftOut } = judge(object(1), object(2, { metadata: wrong }), object(3, { spec: {} }));
    expect(nodes).toEqual(['n1']);
    expect(leftOut['n2']).toMatch(
      /^publicKey: got "short", want a WireGuard public key.*; as: got "many", want the number/,
    );
    expect(leftOut['n3']).toBe('podCIDRs: got [], want at least one network');
  });

  it('keeps of nodes that clash the one made last; one that lost takes nothing from others', () => {
    // 3 has taken over 2’s address, 2 shares its podCIDRs with 1: 1 has nothing to fear of 2
    const third = object(3, { status: { addresses: [{ type: 'InternalIP', address: '192.168.1.2' }] } });
    const second = object(2, { spec: object(1).spec! });
    const { nodes, leftOut } = judge(object(1), second, third);
    expect(nodes).toEqual(['n1', 'n3']);
    expect(leftOut).toEqual({ n2: '"n2" with address 192.168.1.2, as "n3"; want an address only once' });
  });

  it('leaves out a node whose address lies in its own podCIDR', () => {
    const status = { addresses: [{ type: 'InternalIP', address: '10.244.1.1' }] };
    expect(judge(object(1, { status }), object(2))).toEqual({
      nodes: ['n2'],
      leftOut: {
        n1: 'address 10.244.1.1 of "n1" lies in podCIDR 10.244.1.0/24 of "n1"; want node addresses outside all podCIDRs',
      },
    });
  });

  it('judges thousands of nodes of which each clashes in a moment', () => {
    const many = Array.from({ length: 2000 }, (_, i) =>
      object(1, { metadata: { name: `n${i}`, creationTimestamp: String(i).padStart(5, '0') } }),
    );
    expect(judge(...many).nodes).toEqual(['n1999']);
  });
});

describe('readList()', () => {
  const items = [
    { metadata: { name: 'a', annotations: { text: 'quotes " and \\ and }],[{ in text' } } },
    { status: { images: [{ names: ['x', 'ü'] }, {}], conditions: [] } },
    {},
  ];
  const list = { kind: 'NodeList', metadata: { resourceVersion: '42', more: { deep: [1] } }, items };

  async function read(text: string, size: number): Promise<{ found: unknown[]; version: string }> {
    const bytes = Buffer.from(text);
    const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.subarray(i * size, (i + 1) * size),
    );
    const found: unknown[] = [];
    const version = await readList(Readable.from(chunks), (item) => void found.push(item));
    return { found, version };
  }

  it.each([1, 2, 3, 7, 1000])('finds every item in pieces of %d bytes', async (size) => {
    expect(await read(JSON.stringify(list), size)).toEqual({ found: items, version: '42' });
    expect(await read(`${JSON.stringify(list, null, 2)}\n`, size)).toEqual({ found: items, version: '42' });
  });

  it('reads an empty list', async () => {
    expect(await read('{"metadata":{"resourceVersion":"7"},"items":[]}\n', 5)).toEqual({ found: [], version: '7' });
  });

  it('refuses a list that was cut off, wherever', async () => {
    const text = JSON.stringify(list);
    for (let end = 0; end < text.length; end++) {
      await expect(read(text.slice(0, end), 16), text.slice(0, end)).rejects.toThrow(SyntaxError);
    }
  });
});

import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { cut, NodeList, parseEntry } from '../../src/cluster/node-list.ts';

const entry = (name: string, addresses: string, podCIDRs: string): string =>
  `  - name: ${name}\n    addresses: ${addresses}\n    podCIDRs: ${podCIDRs}`;

describe('parseEntry() answers what YAML says', () => {
  const names = ['n1', 'true', 'Null', 'a.b-c_d', 'e1', 'x', 'FALSE', '"q"', 'on', 'y-1:', '-a', '1e3', '0x1f', '.inf'];
  const lists = [
    '[10.0.0.1]',
    '[10.0.0.1, fd00::1]',
    '[10.0.0.1,fd00::1]',
    '["fd00::", 10.0.0.0/24]',
    '[fd00:1::/64]',
    '[fd00::/64, 1:2:3:4:5:6:7:8]',
    '[fd00::]',
    '[1.5]',
    '[12:30:45]',
    '[1:2]',
    '[ "10.0.0.1" ]',
    '[]',
    '[a, [b]]',
    '[10.0.0.1,]',
    '[10.0.0.1,, 10.0.0.2]',
    '["10.0.0.1" x]',
    '10.0.0.1',
  ];
  it.each(names.flatMap((n) => lists.map((l) => [n, l] as const)))('name %s, list %s', (name, list) => {
    const text = entry(name, list, '[10.1.0.0/24]');
    let want: unknown;
    try {
      want = (parse(text) as unknown[])[0];
    } catch {
      expect(() => parseEntry(text)).toThrow();
      return;
    }
    expect(parseEntry(text)).toEqual(want);
  });
});

describe('parseEntry() answers what YAML says of publicKey and site', () => {
  const key = 'hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTm+=';
  const lines = [
    [`publicKey: ${key}`],
    [`publicKey: "${key}"`],
    ['site: north'],
    ['site: null'],
    [`publicKey: "${key}"`, 'site: north'],
    ['site: north', `publicKey: ${key}`],
    [`publicKey: "${key}" # of n1`],
    ['publicKey: short='],
    [`publicKey: ${key}`, `publicKey: ${key}`],
  ];
  it.each(lines.map((more) => [more.join(', '), more] as const))('%s', (_name, more) => {
    const text = [entry('n1', '[10.0.0.1]', '[10.1.0.0/24]'), ...more.map((line) => `    ${line}`)].join('\n');
    expect(cut(`nodes:\n${text}\n`)?.entries).toEqual([`${text}\n`]);
    let want: unknown;
    try {
      want = (parse(text) as unknown[])[0];
    } catch {
      expect(() => parseEntry(text)).toThrow();
      return;
    }
    expect(parseEntry(text)).toEqual(want);
  });
});

describe('NodeList reads as the YAML parser does', () => {
  const usual = entry('n1', '[10.0.0.1]', '[10.1.0.0/24]');
  const cases: [string, string][] = [
    ['the usual shape', `nodes:\n${usual}\n${usual.replace('n1', 'n2')}\n`],
    ['comments and blank lines', `# c\n\nnodes: # all\n${usual} # one\n  # between\n\n${usual}\n# end\n`],
    ['entries in braces', 'nodes:\n  - { name: a, addresses: [1.1.1.1, "::1"] }\n  - { name: b, x: "y z" }\n'],
    ['no indentation', 'nodes:\n- name: a\n  addresses:\n  - 1.1.1.1\n- name: b\n'],
    ['nested sequences', 'nodes:\n  - name: a\n    addresses:\n      - 1.1.1.1\n      - fd00::1\n  - name: b\n'],
    ['plain text over lines', 'nodes:\n  - name: a\n      b\n    addresses: [1.1.1.1]\n  - x\n'],
    ['a plain scalar with a dash', 'nodes:\n  foo\n  - bar\n'],
    ['an item without a space', 'nodes:\n  - a\n  -b\n'],
    ['a block scalar', 'nodes:\n  - name: |\n      - name: x\n  - name: b\n'],
    ['a quoted word over lines', 'nodes:\n  - name: "a\n  - b"\n'],
    ['brackets over lines', 'nodes:\n  - addresses: [1.1.1.1,\n      2.2.2.2]\n  - b\n'],
    ['anchors and aliases', 'nodes:\n  - &a { name: a }\n  - *a\n'],
    ['two documents', 'nodes:\n  - a\n---\nnodes:\n  - b\n'],
    ['more keys', 'nodes:\n  - a\nother: 1\n'],
    ['nodes twice', 'nodes:\n  - a\nnodes:\n  - b\n'],
    ['a duplicate key in an entry', 'nodes:\n  - name: a\n    name: b\n'],
    ['JSON', '{"nodes":[{"name":"a"}]}'],
    ['nothing', ''],
    ['empty nodes', 'nodes:\n'],
    ['carriage returns', 'nodes:\r\n  - name: a\r\n'],
    ['a tab', 'nodes:\n  - name:\ta\n'],
    ['less indentation inside', 'nodes:\n    - name: a\n   x: b\n'],
    ['a comment inside plain text', 'nodes:\n  - name: a\n     # c\n      b\n'],
  ];
  it.each(cases)('%s', (_name, text) => {
    let want: unknown;
    try {
      want = parse(text);
    } catch {
      expect(() => new NodeList().parse(text, 'f')).toThrow();
      return;
    }
    const list = new NodeList();
    expect(list.parse(text, 'f')).toEqual(want);
    expect(list.parse(text, 'f')).toEqual(want);
  });

  it('cuts the usual file and only such', () => {
    expect(cut(cases[0]![1])?.entries).toHaveLength(2);
    expect(cut('nodes:\n  - name: |\n      x\n')).toBeUndefined();
  });
});

describe('NodeList reads a text that was changed as one that it has never seen', () => {
  const nodes = Array.from({ length: 6 }, (_, i) => entry(`n${i}`, `[10.0.0.${i}]`, `[10.1.${i}.0/24]`));
  const document = (entries: readonly string[]): string => `# all of them\nnodes:\n${entries.join('\n')}\n`;
  const text = document(nodes);
  const changes: [string, string][] = [
    ['nothing', text],
    ['one more at the end', document([...nodes, entry('n9', '[10.0.0.9]', '[10.1.9.0/24]')])],
    ['one more in front', document([entry('n9', '[10.0.0.9]', '[10.1.9.0/24]'), ...nodes])],
    [
      'one more in between',
      document([...nodes.slice(0, 3), entry('n9', '[10.0.0.9]', '[10.1.9.0/24]'), ...nodes.slice(3)]),
    ],
    ['one twice', document([...nodes.slice(0, 3), nodes[2]!, ...nodes.slice(3)])],
    ['the first gone', document(nodes.slice(1))],
    ['one gone', document(nodes.toSpliced(2, 1))],
    ['the last gone', document(nodes.slice(0, -1))],
    ['all but one gone', document(nodes.slice(2, 3))],
    ['two changed places', document([nodes[1]!, nodes[0]!, ...nodes.slice(2)])],
    ['one goes on', document(nodes.with(2, `${nodes[2]}\n    site: north`))],
    ['the last goes on', document(nodes.with(5, `${nodes[5]}\n    site: north`))],
    ['one is followed by a comment', document(nodes.with(2, `${nodes[2]}\n# north`))],
    ['one begins with a comment', document(nodes.with(0, `# north\n${nodes[0]}`))],
    ['one is wrong', document(nodes.with(2, `${nodes[2]}\n  - {`))],
    ['one is plain text over lines', document(nodes.with(2, `${nodes[2]}\n      more`))],
    ['a key at the end', `${text}traffic: { mode: vxlan }\n`],
    ['a key in front', `traffic: { mode: vxlan }\n${text}`],
    ['no line feed at the end', text.trimEnd()],
    ['less indentation from one on', document(nodes.with(4, nodes[4]!.replaceAll('\n    ', '\n  ')))],
    ['none left', '# all of them\nnodes:\n'],
    ['cut off', text.slice(0, 200)],
  ];
  const read = (list: NodeList, said: string): unknown => {
    try {
      return list.parse(said, 'f');
    } catch (error) {
      return String(error);
    }
  };

  it.each(changes)('%s', (_name, changed) => {
    const list = new NodeList();
    for (const next of [text, changed, text, changed]) expect(read(list, next)).toEqual(read(new NodeList(), next));
  });

  it('whatever the order of the changes', () => {
    const list = new NodeList();
    for (let i = 0; i < 2000; i++) {
      const [, next] = changes[(i * i * 7 + i * 13) % changes.length]!;
      expect(read(list, next)).toEqual(read(new NodeList(), next));
    }
  });
});

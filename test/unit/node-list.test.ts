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

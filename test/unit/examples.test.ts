/** Every network configuration in conf/ and in the plugins' pages is one that the plugins take, without a remark on any key. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { plugins } from '../../plugins/plugins.ts';
import { conflist, conflistName } from '../../src/agent/node-files.ts';
import { readDocument } from '../../src/cli/validate/document.ts';
import { FileSource } from '../../src/cluster/file.ts';

const root = join(import.meta.dirname, '../..');
const pages = readdirSync(join(root, 'docs/plugins'));

/** Network configurations by where they stand: files of conf/, and fenced JSON of the pages that names a network. */
const examples = new Map<string, string>([
  ...readdirSync(join(root, 'conf'))
    .filter((name) => /\.conf(list)?$/.test(name))
    .map((name): [string, string] => [`conf/${name}`, readFileSync(join(root, 'conf', name), 'utf8')]),
  ...pages.flatMap((page) =>
    [...readFileSync(join(root, 'docs/plugins', page), 'utf8').matchAll(/^```json\n(.*?)^```/gms)]
      .map(([, text = '']) => text)
      .filter((text) => text.includes('"cniVersion"') && text.includes('"type"'))
      .map((text, i): [string, string] => [`docs/plugins/${page} ${i + 1}`, text]),
  ),
]);

/** What real clients write beside the keys of the specification: told, and no harm. */
const remarks: Record<string, string[]> = {
  'conf/nerdctl-bridge.conflist': ['nerdctlID: unknown key, ignored', 'nerdctlLabels: unknown key, ignored'],
};

/** Plugins of others in the examples: the list is as they come with it, their keys are theirs. */
const foreignTypes: Record<string, string[]> = {
  'conf/10-flannel.conflist': ['flannel', 'bandwidth'].filter((type) => !plugins.has(type)),
};

describe('examples', () => {
  it.each([...examples])('%s is taken', (place, text) => {
    const { findings, network } = readDocument(place, text);
    expect(findings.map((f) => `${f.path}: ${f.message}`)).toEqual(remarks[place] ?? []);
    expect(findings.every((f) => f.severity === 'remark')).toBe(true);
    const foreign = network!.plugins.map((p) => p.type).filter((type) => !plugins.has(type));
    expect(foreign).toEqual(foreignTypes[place] ?? []);
  });

  it('every plugin has a page with an example', () => {
    for (const name of plugins.keys()) expect([...examples.keys()]).toContain(`docs/plugins/${name}.md 1`);
  });

  it('the page of the plugin culvert shows what the agent writes', () => {
    const shown = JSON.parse(examples.get('docs/plugins/culvert.md 1') ?? '{}') as object;
    expect(shown).toEqual(conflist('/run/culvert/node.json'));
    expect(readFileSync(join(root, 'docs/plugins/culvert.md'), 'utf8')).toContain(conflistName);
  });

  it('the cluster of the virtual machines is taken', () => {
    const source = new FileSource(join(root, 'vagrant/cluster.yaml'));
    expect(source.read().nodes.map((n) => n.name)).toEqual(['node1', 'node2', 'node3']);
    expect(source.notes).toEqual([]);
  });

  it('the systemd unit starts the agent with its own default configuration', () => {
    const unit = readFileSync(join(root, 'conf/culvert-agent.service'), 'utf8');
    expect(unit).toMatch(/^ExecStart=\/opt\/cni\/bin\/culvert agent --config \/etc\/culvert\/agent\.yaml$/m);
  });
});

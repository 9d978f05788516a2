import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { journalFile, readJournal, SysctlJournal } from '../../src/agent/sysctl-journal.ts';
import type { Change } from '../../src/plan/diff.ts';

let dir: string;
let file: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'culvert-journal-'));
  file = journalFile(dir);
});
afterEach(() => rmSync(dir, { recursive: true }));

const kernelOf = (values: Record<string, string>) => ({ readSysctl: (key: string) => values[key] });
const change = (key: string, was: string | undefined, value: string): Change => ({
  op: 'set-sysctl',
  sysctl: { key, value },
  was,
});
const rpFilter = 'net/ipv4/conf/eth0/rp_filter';

it('keeps what was there before the first change, however often it is changed', () => {
  new SysctlJournal(file, kernelOf({}), 'boot').keep([change(rpFilter, '1', '2')]);
  const later = new SysctlJournal(file, kernelOf({}), 'boot');
  later.keep([change(rpFilter, '0', '2')]);
  expect(readJournal(file, 'boot')).toEqual([{ key: rpFilter, was: '1', set: '2', along: [] }]);
  later.keep([change(rpFilter, '2', '0')]);
  expect(readJournal(file, 'boot')).toEqual([{ key: rpFilter, was: '1', set: '0', along: [] }]);
});

it('keeps what forwarding changes along with itself, where switching back would not restore it', () => {
  const values = {
    'net/ipv4/conf/lo/forwarding': '1',
    'net/ipv4/conf/default/forwarding': '0',
    'net/ipv4/conf/all/accept_redirects': '0',
  };
  new SysctlJournal(file, kernelOf(values), 'boot').keep([change('net/ipv4/ip_forward', '0', '1')]);
  expect(readJournal(file, 'boot')[0]?.along).toEqual([
    { key: 'net/ipv4/conf/lo/forwarding', was: '1' },
    { key: 'net/ipv4/conf/all/accept_redirects', was: '0' },
  ]);
});

it('passes over our own links, which take their sysctls along, what is absent, and other changes', () => {
  const journal = new SysctlJournal(file, kernelOf({}), 'boot');
  journal.keep([
    change('net/ipv4/conf/culvert-vxlan/rp_filter', '0', '2'),
    change('net/ipv6/conf/all/forwarding', undefined, '1'),
    { op: 'delete-link', name: 'culvert-vxlan' },
  ]);
  expect(() => readFileSync(file)).toThrow(/ENOENT/);
});

it('means nothing in another boot: that one has values of its own', () => {
  new SysctlJournal(file, kernelOf({}), 'boot').keep([change(rpFilter, '1', '2')]);
  expect(readJournal(file, 'another')).toEqual([]);
  new SysctlJournal(file, kernelOf({}), 'another').keep([change('net/ipv4/conf/eth1/rp_filter', '1', '2')]);
  expect(readJournal(file, 'another').map((e) => e.key)).toEqual(['net/ipv4/conf/eth1/rp_filter']);
});

it.each([
  ['no JSON', '{"bootId":"boot","sysctls":['],
  ['a path out of net', '{"bootId":"boot","sysctls":[{"key":"net/../kernel/panic","was":"1","set":"0","along":[]}]}'],
  ['a value that is no text', `{"bootId":"boot","sysctls":[{"key":"${rpFilter}","was":1,"set":"2","along":[]}]}`],
])('takes nothing from a damaged journal: %s', (_name, text) => {
  writeFileSync(file, text);
  expect(readJournal(file, 'boot')).toEqual([]);
});

it('says that it cannot be written, and does not keep the change from being made', () => {
  writeFileSync(join(dir, 'in-the-way'), '');
  const journal = new SysctlJournal(join(dir, 'in-the-way/sysctls.json'), kernelOf({}), 'boot');
  journal.keep([change(rpFilter, '1', '2')]);
  expect(journal.problem).toMatch(/^what sysctls were before cannot be kept for an uninstall: ENOTDIR/);
});

import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { apply, look, plan, type Sources } from '../../src/agent/install/executables.ts';
import { formatMark, parseMark, readMark } from '../../src/agent/install/mark.ts';
import { conflistName, otherConflists } from '../../src/agent/node-files.ts';

const names = ['bridge', 'culvert', 'culvert-node', 'loopback'];
const own = { version: '0.2.0', build: '0123456789abcdef' };
const old = { version: '0.1.0', build: 'fedcba9876543210' };
const keep = { foreign: 'keep', otherBuild: 'keep' } as const;
const program = (mark: typeof own): string => `\x7fELF a program${formatMark(mark)}`;

let dir: string;
let bin: string;
let source: string;
let sources: Sources;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'culvert-install-'));
  bin = join(dir, 'bin');
  source = join(dir, 'source');
  writeFileSync(source, program(own));
  sources = { node: source, main: () => Buffer.from(`starts it${formatMark(own)}`) };
});
afterEach(() => rmSync(dir, { recursive: true }));

const steps = (wishes = keep as Parameters<typeof plan>[2]): string[] =>
  plan(look(bin, names), own, wishes).steps.map((s) => `${s.op} ${s.name} for ${s.was}`);
const kept = (): string[] => plan(look(bin, names), own, keep).kept.map((k) => `${k.name} ${k.why}`);
const install = (wishes = keep as Parameters<typeof plan>[2]) =>
  apply(bin, plan(look(bin, names), own, wishes).steps, sources);

describe('the mark', () => {
  it('is read from the end of a file, through links', () => {
    symlinkSync('source', join(dir, 'link'));
    expect(readMark(join(dir, 'link'))).toEqual(own);
  });

  it.each([
    ['an empty file', ''],
    ['a script that speaks of culvert', '#!/bin/sh\nculvert 1.0.0 now\n'],
    ['a mark with more behind it', `${program(own)}x`],
    ['bytes', '\xff\xfe'.repeat(100)],
  ])('is not found in %s', (_name, text) => {
    writeFileSync(source, text);
    expect(readMark(source)).toBeUndefined();
  });

  it('is not found in a folder, nor where there is nothing', () => {
    expect([readMark(dir), readMark(join(dir, 'absent'))]).toEqual([undefined, undefined]);
  });

  it('takes versions as package.json has them', () => {
    const mark = { version: '1.0.0-rc.1+2', build: own.build };
    expect(parseMark(formatMark(mark))).toEqual(mark);
  });
});

describe('installing', () => {
  it('makes two real files and links, and then finds nothing to do', async () => {
    await install();
    expect(readFileSync(join(bin, 'culvert-node'), 'latin1')).toBe(program(own));
    expect(readFileSync(join(bin, 'culvert'), 'latin1')).toBe(`starts it${formatMark(own)}`);
    for (const name of ['culvert', 'culvert-node']) expect(statSync(join(bin, name)).mode & 0o777).toBe(0o755);
    expect(readlinkSync(join(bin, 'loopback'))).toBe('culvert');
    expect(readdirSync(bin)).toEqual(names);
    expect(steps()).toEqual([]);
  });

  it("keeps another program's file, be it a script, a link that leads nowhere or a folder", async () => {
    mkdirSync(bin);
    writeFileSync(join(bin, 'bridge'), '#!/bin/sh\n');
    symlinkSync('/nonexistent/loopback', join(bin, 'loopback'));
    await install();
    expect(kept()).toEqual(['bridge foreign', 'loopback foreign']);
    expect(readFileSync(join(bin, 'bridge'), 'utf8')).toBe('#!/bin/sh\n');
  });

  it('takes its place when told', async () => {
    mkdirSync(bin);
    writeFileSync(join(bin, 'culvert'), 'another');
    await install({ foreign: 'replace', otherBuild: 'keep' });
    expect(readMark(join(bin, 'culvert'))).toEqual(own);
    expect(kept()).toEqual([]);
  });

  it('replaces another build when told, and only then', async () => {
    mkdirSync(bin);
    writeFileSync(join(bin, 'culvert'), program(old));
    writeFileSync(join(bin, 'bridge'), program(old));
    expect(kept()).toEqual(['bridge other-build', 'culvert other-build']);
    expect(steps({ foreign: 'keep', otherBuild: 'replace' })).toEqual([
      'link bridge for culvert 0.1.0 (build fedcba9876543210)',
      'copy culvert for culvert 0.1.0 (build fedcba9876543210)',
      'copy culvert-node for nothing',
      'link loopback for nothing',
    ]);
    const before = lstatSync(join(bin, 'culvert')).ino;
    await install({ foreign: 'keep', otherBuild: 'replace' });
    // by rename: whoever runs the old one goes on running it
    expect(lstatSync(join(bin, 'culvert')).ino).not.toBe(before);
    expect(steps()).toEqual([]);
  });

  it('leaves a copy of the same build as it is, however it got there', async () => {
    mkdirSync(bin);
    symlinkSync(source, join(bin, 'culvert'));
    writeFileSync(join(bin, 'bridge'), program(own));
    expect([steps(), kept()]).toEqual([['copy culvert-node for nothing', 'link loopback for nothing'], []]);
  });

  it('leaves nothing of its own behind when it fails, and what a killed one left goes later', async () => {
    mkdirSync(bin);
    const left = join(bin, '.culvert.0badcafe.next');
    writeFileSync(left, 'half');
    await expect(
      apply(bin, plan(look(bin, names), own, keep).steps, { ...sources, node: join(dir, 'absent') }),
    ).rejects.toThrow(/ENOENT/);
    expect(readdirSync(bin)).toEqual(['.culvert.0badcafe.next']);
    await install();
    expect(readdirSync(bin)).toContain('.culvert.0badcafe.next'); // it may be at work
    utimesSync(left, 1, 1);
    rmSync(join(bin, 'culvert'));
    await install();
    expect(readdirSync(bin)).toEqual(names);
  });

  it('may be done by two at a time', async () => {
    await Promise.all([install(), install()]);
    expect(readdirSync(bin)).toEqual(names);
    expect(steps()).toEqual([]);
  });
});

describe('other network configurations', () => {
  it('stand before or after ours by name, as runtimes sort them', () => {
    for (const name of [
      '87-podman.conflist',
      '05-a.conf',
      conflistName,
      '1.json',
      'README',
      '.10-culvert.conflist.next',
    ]) {
      writeFileSync(join(dir, name), '');
    }
    expect(otherConflists(dir)).toEqual({ before: ['05-a.conf', '1.json'], after: ['87-podman.conflist'] });
    expect(otherConflists(join(dir, 'absent'))).toEqual({ before: [], after: [] });
  });
});

/** What a plugin's process finds compiled in the start-up snapshot; without it every ADD is slower by a quarter, and nothing else tells. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { buildExecutable } from '../../scripts/sea.ts';

const dist = join(import.meta.dirname, '../../dist');
let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'culvert-snapshot-'));
  // the executable of scripts/build.ts but for V8's log, which only an executable's own arguments can switch on
  const { execArgv } = JSON.parse(readFileSync(join(dist, 'sea.json'), 'utf8')) as { execArgv: string[] };
  const log = ['--log-function-events', '--no-logfile-per-isolate', `--logfile=${join(dir, 'v8.log')}`];
  buildExecutable(dir, {
    main: join(dist, 'main.blob'),
    isSnapshot: true,
    output: 'culvert',
    execArgv: [...execArgv, ...log],
  });
  symlinkSync('culvert', join(dir, 'host-local'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Functions that V8 had to compile, in one execution of host-local. */
function compiled(command: string): string[] {
  const ipam = { type: 'host-local', dataDir: join(dir, 'leases'), subnet: '10.1.0.0/24' };
  execFileSync(join(dir, 'host-local'), {
    input: JSON.stringify({ cniVersion: '1.0.0', name: 'net', ipam }),
    env: { CNI_COMMAND: command, CNI_CONTAINERID: 'c', CNI_NETNS: '/none', CNI_IFNAME: 'eth0', CNI_PATH: dir },
  });
  const log = readFileSync(join(dir, 'v8.log'), 'utf8');
  return [...log.matchAll(/^function,full-parse,.*,([^,\n]*)$/gm)].map(([, name = '']) => name);
}

it.each(['VERSION', 'ADD', 'DEL'])('%s compiles a few functions only, though it calls hundreds', (command) => {
  const names = compiled(command);
  expect(names).toContain('deserializeMain'); // the log was on
  expect(names.length, names.join(' ')).toBeLessThan(40);
});

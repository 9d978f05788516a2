import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { CommandError } from '../../src/errors.ts';
import { createExec } from '../../src/kernel/exec.ts';

const dir = mkdtempSync(join(tmpdir(), 'culvert-exec-'));
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(dir, { recursive: true, force: true });
});

describe('createExec()', () => {
  it('passes over its own executable on PATH, whatever it is called there', async () => {
    for (const folder of ['plugins', 'tools']) mkdirSync(join(dir, folder));
    symlinkSync(process.execPath, join(dir, 'plugins', 'some-tool'));
    writeFileSync(join(dir, 'tools', 'some-tool'), '#!/bin/sh\necho the tool\n');
    chmodSync(join(dir, 'tools', 'some-tool'), 0o755);
    vi.stubEnv('PATH', `${join(dir, 'plugins')}:${join(dir, 'tools')}:${process.env['PATH']}`);
    expect(await createExec()(['some-tool'])).toBe('the tool\n');
  });

  it("takes the system's program before one of that name on PATH", async () => {
    mkdirSync(join(dir, 'other'), { recursive: true });
    writeFileSync(join(dir, 'other', 'ls'), '#!/bin/sh\necho another suite\n');
    chmodSync(join(dir, 'other', 'ls'), 0o755);
    vi.stubEnv('PATH', `${join(dir, 'other')}:${process.env['PATH']}`);
    expect(await createExec()(['ls', '/'])).toContain('proc');
  });

  it('finds a program that has moved: what a start-up snapshot remembers is another machine’s', async () => {
    const tool = (folder: string) => join(dir, folder, 'moving-tool');
    vi.stubEnv('PATH', `${join(dir, 'here')}:${join(dir, 'there')}:${process.env['PATH']}`);
    for (const folder of ['here', 'there']) {
      mkdirSync(join(dir, folder), { recursive: true });
      writeFileSync(tool(folder), `#!/bin/sh\necho ${folder}\n`);
      chmodSync(tool(folder), 0o755);
      expect(await createExec()(['moving-tool'])).toBe(`${folder}\n`);
      rmSync(tool(folder));
    }
  });

  it.each([
    ['wg', 'the program wg is not installed; install wireguard-tools'],
    ['bird', 'the program bird is not installed; install bird2'],
    ['some-program', 'the program some-program is not installed'],
  ])('says what to install when %s is not there', async (name, message) => {
    vi.stubEnv('PATH', dir);
    const missing = createExec()([join(dir, name)]).catch((error: CommandError) => error);
    expect(await missing).toMatchObject({ reason: 'no-program', stderr: message });
  });
});

import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createExec } from '../../src/kernel/exec.ts';

const dir = mkdtempSync(join(tmpdir(), 'culvert-exec-'));
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(dir, { recursive: true, force: true });
});

describe('createExec()', () => {
  it('passes over its own executable on PATH, whatever it is called there', async () => {
    for (const folder of ['plugins', 'tools']) mkdirSync(join(dir, folder));
    symlinkSync(process.execPath, join(dir, 'plugins', 'bridge'));
    writeFileSync(join(dir, 'tools', 'bridge'), '#!/bin/sh\necho the tool\n');
    chmodSync(join(dir, 'tools', 'bridge'), 0o755);
    vi.stubEnv('PATH', `${join(dir, 'plugins')}:${join(dir, 'tools')}:${process.env['PATH']}`);
    expect(await createExec()(['bridge'])).toBe('the tool\n');
  });
});

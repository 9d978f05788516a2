import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const main = join(import.meta.dirname, '../../src/main.ts');

describe('the command line', () => {
  it('says nothing of a reader that stops reading', async () => {
    const child = spawn(process.execPath, [main, '--help'], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.on('data', (text) => {
      stderr += String(text);
    });
    const [exit] = (await once(child, 'close')) as [number];
    expect(stderr).toBe('');
    expect(exit).toBe(0);
  });
});

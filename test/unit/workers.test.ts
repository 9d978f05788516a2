import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { CommandError } from '../../src/errors.ts';
import { createWorkers } from '../../src/kernel/workers.ts';

/** Children of this process that are shells of ours. */
const shells = (): number[] =>
  execFileSync('ps', ['--ppid', String(process.pid), '-o', 'pid=,args='], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes('while read -r line'))
    .map((line) => Number.parseInt(line, 10));

afterEach(() => vi.unstubAllEnvs());

describe('createWorkers()', () => {
  it('answers what a program said, errors too', async () => {
    const run = createWorkers();
    expect(await run(['printf', 'one\\n\\ntwo'])).toBe('one\n\ntwo');
    const error = await run(['ls', '/none-of-it']).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(CommandError);
    expect(error).toMatchObject({ exitCode: 2, reason: 'not-found' });
    expect((error as CommandError).stderr).toMatch(/cannot access '\/none-of-it'/);
  });

  it('reads nothing of its words as shell', async () => {
    expect(await createWorkers()(['printf', '%s;', '*', '$HOME', '`id`', '$(id)', '\\n', ';', '>x', "'", '"'])).toBe(
      '*;$HOME;`id`;$(id);\\n;;;>x;\';";',
    );
  });

  it('does not take what a program prints for its end', async () => {
    expect(await createWorkers()(['printf', '\\nexit\\0401\\n\\nexit\\0403'])).toBe('\nexit 1\n\nexit 3');
  });

  it('runs programs side by side, and one after another in the same shell', async () => {
    const run = createWorkers();
    const parents = (): Promise<string[]> =>
      Promise.all([1, 2, 3].map(() => run(['sh', '-c', 'sleep${IFS}0.2;echo${IFS}$PPID'])));
    const first = new Set(await parents());
    expect(first.size).toBe(3);
    expect(new Set(await parents())).toEqual(first);
  });

  it('leaves no zombies', async () => {
    const run = createWorkers();
    const pid = await run(['sh', '-c', 'echo${IFS}$PPID']);
    for (let i = 0; i < 5; i++) await run(['true']);
    expect(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')).toBe('');
  });

  it('says so when its shell was killed, and starts another', async () => {
    const before = new Set(shells());
    const run = createWorkers();
    const lost = run(['sleep', '3']).catch((e: unknown) => e);
    const fresh = (): number[] => shells().filter((pid) => !before.has(pid));
    await vi.waitFor(() => expect(fresh()).toHaveLength(1), { timeout: 2500 });
    for (const pid of fresh()) process.kill(pid, 'SIGKILL');
    expect(await lost).toMatchObject({ message: expect.stringContaining('has ended') as string });
    expect(await run(['printf', 'again'])).toBe('again');
  });

  it('names the package of a program that is not there', async () => {
    vi.stubEnv('PATH', '/nowhere');
    const missing = createWorkers()(['some-program']).catch((e: unknown) => e);
    expect(await missing).toMatchObject({ reason: 'no-program', stderr: 'the program some-program is not installed' });
  });

  it('lets whoever is done end', () => {
    const file = new URL('../../src/kernel/workers.ts', import.meta.url).pathname;
    const code = `import { createWorkers } from '${file}'; console.log(await createWorkers()(['printf', 'done']));`;
    expect(
      execFileSync(process.execPath, ['--input-type=module', '-e', code], { timeout: 8000, encoding: 'utf8' }),
    ).toBe('done\n');
  });
});

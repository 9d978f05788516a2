import { describe, expect, it } from 'vitest';
import { CommandError } from '../../src/errors.ts';
import { createKernel } from '../../src/kernel/kernel.ts';

/** What ip was given, by a kernel whose ip does nothing, or fails as `answer` says. */
function recording(answer: (batch: string) => CommandError | undefined = () => undefined) {
  const batches: string[] = [];
  const kernel = createKernel(async (_argv, { stdin = '' } = {}) => {
    batches.push(stdin);
    const error = answer(stdin);
    if (error) throw error;
    return '';
  });
  return { kernel, batches };
}

const failed = (reason: 'not-found' | 'denied') => new CommandError(['ip'], 1, '', reason);

describe('deleteLinks()', () => {
  it('starts no program for what is not there', async () => {
    const { kernel, batches } = recording();
    expect(await kernel.deleteLinks(['none-of-it'])).toEqual([]);
    expect(batches).toEqual([]);
  });

  it('deletes one link by its name', async () => {
    const { kernel, batches } = recording();
    expect(await kernel.deleteLinks(['lo', 'none-of-it'])).toEqual(['lo']);
    expect(batches).toEqual(['link delete dev lo\n']);
  });

  it('deletes several as a group of their own', async () => {
    const { kernel, batches } = recording();
    await kernel.deleteLinks(['lo', 'lo']);
    const group = 0x40000000 + process.pid;
    const [set, again, ...rest] = batches[0]!.split('\n');
    expect(set).toBe(`link set dev lo group ${group}`);
    expect(again).toBe(set);
    expect(rest).toEqual([`link delete group ${group}`, '']);
  });

  it('deletes each by itself when one went meanwhile', async () => {
    const { kernel, batches } = recording((batch) => (batch.includes('group') ? failed('not-found') : undefined));
    expect(await kernel.deleteLinks(['lo', 'lo'])).toEqual(['lo', 'lo']);
    expect(batches.slice(1)).toEqual(['link delete dev lo\n', 'link delete dev lo\n']);
  });

  it('takes a link that somebody else deleted for gone, and throws what else fails', async () => {
    expect(await recording(() => failed('not-found')).kernel.deleteLinks(['lo'])).toEqual([]);
    await expect(recording(() => failed('denied')).kernel.deleteLinks(['lo'])).rejects.toThrow(CommandError);
  });
});

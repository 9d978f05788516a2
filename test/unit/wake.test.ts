import { describe, expect, it } from 'vitest';
import { pause } from '../../src/agent/task.ts';
import { Wake } from '../../src/agent/wake.ts';

const long = 60_000;

/** Why it woke; it does at once, or never. */
async function next(wake: Wake, maxMs = long): Promise<string[]> {
  await wake.next(maxMs);
  return [...wake.reasons].sort();
}

describe('Wake', () => {
  it('tells all reasons that came since the last wait, and time when none did', async () => {
    const wake = new Wake();
    for (const reason of ['host', 'source', 'host'] as const) wake.soon(reason);
    expect(await next(wake)).toEqual(['host', 'source']);
    expect(await next(wake, 1)).toEqual(['time']);
  });

  it('wakes later for what has come and may come until then, once', async () => {
    const wake = new Wake();
    wake.soon('host');
    wake.later('host', 20);
    expect(await next(wake, 1)).toEqual(['time']);
    wake.later('host', long);
    expect(await next(wake)).toEqual(['host']);
    expect(await next(wake, 30)).toEqual(['time']);
  });

  it('does not keep another reason waiting', async () => {
    const wake = new Wake();
    wake.soon('source');
    wake.soon('host');
    wake.later('host', 10);
    expect(await next(wake)).toEqual(['source']);
    expect(await next(wake)).toEqual(['host']);
  });

  it('wakes later again when its time came while nobody waited', async () => {
    const wake = new Wake();
    wake.later('host', 1);
    await pause(10);
    wake.later('host', 10);
    expect(await next(wake, 1)).toEqual(['time']);
    expect(await next(wake)).toEqual(['host']);
  });

  it('does not wake sooner for what comes while it is to wake later', async () => {
    const wake = new Wake();
    wake.later('host', 20);
    wake.soon('host');
    expect(await next(wake, 1)).toEqual(['time']);
    expect(await next(wake)).toEqual(['host']);
    wake.soon('host');
    expect(await next(wake)).toEqual(['host']);
  });

  it('does not wake for what has been done', async () => {
    const wake = new Wake();
    wake.later('host', 10);
    wake.notLater();
    expect(await next(wake, 20)).toEqual(['time']);
  });
});

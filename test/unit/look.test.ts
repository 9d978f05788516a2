import { describe, expect, it } from 'vitest';
import { look } from '../../src/agent/converge.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import { emptyState } from '../../src/plan/host.ts';
import { host, settings, viewOf } from '../support/cluster.ts';

/** Whoever asks it anything hears of it. */
const untouched = new Proxy({} as Kernel, {
  get: (_, verb) => () => {
    throw new Error(`the host is read: ${String(verb)}`);
  },
});

describe('look() at a host that is known', () => {
  const view = viewOf('dual', 'dual');
  const options = { view, settings, kernel: untouched };

  it('does not read it', async () => {
    const { changes } = await look({ ...options, known: { facts: host, owned: emptyState() } });
    expect(changes.filter((c) => c.op === 'replace-route')).not.toHaveLength(0);
  });

  it('reads it when nothing can be planned for it as it was', async () => {
    const facts = { ...host, addresses: [] };
    await expect(look({ ...options, known: { facts, owned: emptyState() } })).rejects.toThrow(/the host is read/);
  });
});

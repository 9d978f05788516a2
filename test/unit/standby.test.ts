import { afterEach, describe, expect, it } from 'vitest';
import { CommandError } from '../../src/errors.ts';
import { type Standby, standBy } from '../../src/kernel/standby.ts';

let standby: Standby;
const begin = (...names: Parameters<typeof standBy>[0]) => {
  standby = standBy(names, '', () => {});
  return (name: (typeof names)[number]) => standby.orders.get(name)![0]!;
};
afterEach(() => standby.dismiss());

describe('standBy()', () => {
  it('answers what a program said when it has ended', async () => {
    const orders = begin('ip');
    expect(await orders('ip')('link show dev lo\n')).toContain('LOOPBACK');
  });

  it('tells the failed line of a batch', async () => {
    const orders = begin('ip');
    const error = await orders('ip')('link show dev lo\nlink show dev none-of-it\n').catch((e: unknown) => e);
    expect(error).toBeInstanceOf(CommandError);
    expect(error).toMatchObject({ exitCode: 1, reason: 'not-found', line: 2 });
    expect((error as CommandError).stderr).toContain('link show dev none-of-it');
  });

  it('hears of one program while another has no orders yet', async () => {
    const orders = begin('ip', 'nft -f', 'nft -i');
    await expect(orders('nft -f')('no such command\n')).rejects.toThrow(/syntax error/);
    await expect(orders('ip')('link show dev lo\n')).resolves.toContain('LOOPBACK');
  });

  it('gives each of two of a name its own orders', async () => {
    begin('ip', 'ip');
    const [first, second] = standby.orders.get('ip')!;
    await expect(second!('link show dev lo\n')).resolves.toContain('LOOPBACK');
    await expect(first!('link show dev none-of-it\n')).rejects.toMatchObject({ reason: 'not-found' });
  });

  it('answers what nft shows, and what it complains of instead', async () => {
    await expect(begin('nft -p')('nft -p')('describe ip version\n')).resolves.toContain('4 bits');
    await expect(begin('nft -p')('nft -p')('no such command\n')).rejects.toThrow(/syntax error/);
  });

  it('tells the failed line of a batch of bridge', async () => {
    await expect(begin('bridge')('bridge')('')).resolves.toBe('');
    const error = await begin('bridge')('bridge')('fdb show dev none-of-it\n').catch((e: unknown) => e);
    expect(error).toMatchObject({ reason: 'not-found', line: 1 });
  });

  it('does not start conntrack without a line for it', async () => {
    await expect(begin('conntrack')('conntrack')('')).resolves.toBe('');
  });

  it('takes an answer before the program ends, and what it complained of', async () => {
    const done = { doneWhen: /\d bits/ };
    const describe = 'describe ip version\n';
    await expect(begin('nft -i')('nft -i')(describe, done)).resolves.toContain('4 bits');
    await expect(begin('nft -i')('nft -i')(`no such command\n${describe}`, done)).rejects.toThrow(/syntax error/);
  });
});

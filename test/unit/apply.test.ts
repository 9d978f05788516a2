import { describe, expect, it } from 'vitest';
import { apply } from '../../src/apply/apply.ts';
import { createKernel } from '../../src/kernel/kernel.ts';
import type { Change } from '../../src/plan/diff.ts';

/** The programs that changes start, with their arguments or their lines. */
async function programsOf(changes: Change[]): Promise<string[]> {
  const ran: string[] = [];
  const kernel = createKernel(async (argv, options) => {
    ran.push(`${argv[0]} ${options?.stdin?.trim().replaceAll('\n', ' | ') ?? argv.slice(1).join(' ')}`);
    return '';
  });
  await apply(changes, kernel);
  return ran;
}

const dev = 'culvert-wg';
const peer = (publicKey: string): Change => ({
  op: 'replace-peer',
  peer: { dev, publicKey, endpoint: '192.0.2.1:1', allowedIps: '10.1.0.0/24', keepaliveSeconds: 0, preshared: '' },
  was: undefined,
});
const gone = (publicKey: string): Change => ({ ...peer(publicKey), op: 'delete-peer' }) as Change;
const route = (prefix: string): Change => ({ op: 'replace-route', route: { prefix, dev }, was: undefined });
const fdb = { dev: 'culvert-vxlan', mac: '02:00:00:00:00:01', dst: '192.0.2.1' };

describe('apply()', () => {
  it('keeps the order of the changes, those for one program after another in one process', async () => {
    const changes: Change[] = [
      { op: 'add-link', link: { name: dev, make: { kind: 'wireguard' } } },
      { op: 'set-wireguard', wireguard: { dev, listenPort: 1, publicKey: 'K', privateKeyFile: '/k' }, was: undefined },
      peer('A'),
      peer('B'),
      { op: 'replace-fdb', fdb, was: undefined },
      route('10.1.0.0/24'),
      route('10.2.0.0/24'),
      gone('C'),
      gone('D'),
      { op: 'delete-link', name: 'culvert-vxlan' },
    ];
    const one = (key: string) => `peer ${key} endpoint 192.0.2.1:1 persistent-keepalive 0 allowed-ips 10.1.0.0/24`;
    expect(await programsOf(changes)).toEqual([
      'ip link add name culvert-wg type wireguard',
      `wg set culvert-wg listen-port 1 private-key /k ${one('A')} ${one('B')}`,
      'bridge fdb replace 02:00:00:00:00:01 dev culvert-vxlan dst 192.0.2.1 self permanent',
      'ip route replace 10.1.0.0/24 dev culvert-wg | route replace 10.2.0.0/24 dev culvert-wg',
      'wg set culvert-wg peer C remove peer D remove',
      'ip link delete dev culvert-vxlan',
    ]);
  });

  it('cuts very many peers into command lines that the kernel takes', async () => {
    const peers = Array.from({ length: 5000 }, (_, i) => peer(`K${i}`));
    const ran = await programsOf(peers);
    expect(ran.map((line) => line.split(' peer ').length - 1)).toEqual([2000, 2000, 1000]);
    expect(Math.max(...ran.map((line) => line.length))).toBeLessThan(1_000_000);
  });
});

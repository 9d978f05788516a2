/** BIRD on the router of a `Fabric`: what a top-of-rack switch is to nodes in mode bgp. And BIRD of nodes, which outlives agents. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Neighbour, renderRouter } from '../../src/lab/top-of-rack.ts';
import { readIfThere } from '../../src/store/files.ts';
import { type Fabric, until } from './agents.ts';
import type { Host } from './netns.ts';

export const routerAs = 64_500;

/** What nodes write into `bgp.peers`; each has the routers of its own link by its site. */
export const routerPeers = [1, 2].flatMap((subnet) =>
  [`192.168.${subnet}.1`, `fd0${subnet}::1`].map((address) => ({ address, as: routerAs, site: `rack${subnet}` })),
);

export const rackOf = (i: number): { site: string } => ({ site: `rack${i === 3 ? 2 : 1}` });

const socketOf = (host: Host, folder = 'run'): string => join(host.dir, folder, 'bird.ctl');

/** What birdc prints. */
export const birdc = (host: Host, command: string, folder?: string): string =>
  host.try(`birdc -s ${socketOf(host, folder)} ${command}`).stdout;

export const birdPid = (host: Host): number => Number(readFileSync(join(host.dir, 'run/bird.pid'), 'utf8'));

export class TopOfRack {
  readonly #router: Host;

  constructor(router: Host) {
    this.#router = router;
    // nobody wrote the podCIDRs down here: it has to be told
    for (const i of [1, 2, 3]) {
      router.exec(`ip route del 10.244.${i}.0/24`);
      router.exec(`ip route del fd00:244:${i}::/64`);
    }
  }

  start(as: (i: number) => number = () => 64_512): void {
    const neighbours = [1, 2, 3].flatMap((i): Neighbour[] => {
      const subnet = i === 3 ? 2 : 1;
      return [
        { name: `n${i}`, as: as(i), family: 4, local: `192.168.${subnet}.1`, address: `192.168.${subnet}.1${i}` },
        { name: `n${i}`, as: as(i), family: 6, local: `fd0${subnet}::1`, address: `fd0${subnet}::1${i}` },
      ];
    });
    const file = join(this.#router.dir, 'bird.conf');
    writeFileSync(file, renderRouter(routerAs, neighbours));
    this.#router.exec(
      `bird -c ${file} -s ${join(this.#router.dir, 'bird.ctl')} -P ${join(this.#router.dir, 'bird.pid')}`,
    );
  }

  get routes(): string {
    return this.#router.exec('ip route show proto bird') + this.#router.exec('ip -6 route show proto bird');
  }
}

const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}`);

/** Ends every BIRD of a fabric, and waits for it: the next one would not start beside it. */
export async function endBirds(fabric: Fabric): Promise<void> {
  const places: [Host, string][] = [
    ...fabric.nodes.map(({ host }): [Host, string] => [host, 'run']),
    [fabric.router, '.'],
  ];
  const ending = places.flatMap(([host, folder]) => {
    if (!existsSync(socketOf(host, folder))) return [];
    const pid = readIfThere(join(host.dir, folder, 'bird.pid')); // none: it is ending already
    birdc(host, 'down', folder);
    return pid === undefined ? [] : [Number(pid)];
  });
  await until('every BIRD to end', () => !ending.some(isAlive), 20_000);
}

/** BIRD on the router of a `Fabric`: what a top-of-rack switch is to nodes in mode bgp. And BIRD of nodes, which outlives agents. */

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Neighbour, renderRouter } from '../../src/lab/top-of-rack.ts';
import type { Fabric } from './agents.ts';
import { type Host, run } from './netns.ts';

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

export const birdPid = (host: Host): number => Number(run(['cat', join(host.dir, 'run/bird.pid')]).trim());

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

/** Ends every BIRD of a fabric. */
export function endBirds(fabric: Fabric): void {
  for (const { host } of fabric.nodes) if (existsSync(socketOf(host))) birdc(host, 'down');
  if (existsSync(socketOf(fabric.router, '.'))) birdc(fabric.router, 'down', '.');
}

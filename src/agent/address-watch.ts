/**
 * Looks for another host on our links that has an address of this node: a cloned machine, say. Its packets and ours would go to
 * whoever answered last. IPv6: the kernel has asked when the address was set (RFC 4862, section 5.4), and its verdict stands at the
 * address. IPv4: the kernel never asks; the program arping does, in the manner of RFC 5227, which harms nobody's neighbour table.
 */

import { execa } from 'execa';
import { isObject, type JsonObject } from '../decode.ts';
import type { Exec } from '../kernel/exec.ts';
import { programFile } from '../kernel/exec.ts';
import { familyOf } from '../net/address.ts';
import type { Log } from './log.ts';
import { pause, type Task } from './task.ts';

export interface AddressWatchParts {
  readonly exec: Exec;
  /** The addresses of this node in the cluster; none while they are not known. */
  readonly addresses: () => readonly string[];
  readonly everyMs: number;
  /** Called when the problems are not those of before. */
  readonly changed: () => void;
  readonly log: Log;
}

/** The MAC address of whoever else answers for an address, in what `arping -D` of iputils prints. */
export const otherOwner = (printed: string): string | undefined =>
  /^Unicast reply from \S+ \[([0-9A-Fa-f:]{17})\]/m.exec(printed)?.[1]?.toLowerCase();

interface Place {
  readonly dev: string;
  readonly flags: readonly unknown[];
  readonly entry: JsonObject;
}

/** Where an address is, in what `ip -j addr show to ADDRESS` prints. */
export function placeOf(shown: unknown, address: string): Place | undefined {
  for (const link of Array.isArray(shown) ? shown.filter(isObject) : []) {
    const infos = Array.isArray(link['addr_info']) ? link['addr_info'].filter(isObject) : [];
    const entry = infos.find((i) => i['local'] === address);
    const flags = Array.isArray(link['flags']) ? link['flags'] : [];
    if (entry) return { dev: String(link['ifname']), flags, entry };
  }
  return undefined;
}

const describe = (address: string, dev: string, who: string): string =>
  `another host on the link of ${dev}${who} has ${address}, the address of this node: packets for either go to the wrong one; give one of them another address`;

export class AddressWatch implements Task {
  readonly name = 'addresses';
  readonly #parts: AddressWatchParts;
  #saidLack = false;
  problems: readonly string[] = [];

  constructor(parts: AddressWatchParts) {
    this.#parts = parts;
  }

  notReady(): undefined {
    return undefined;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const addresses = this.#parts.addresses();
      const found = await Promise.all(addresses.map((a) => this.#look(a, signal)));
      const problems = found.filter((f) => f !== undefined);
      const isNews = problems.join() !== this.problems.join();
      this.problems = problems;
      if (isNews && !signal.aborted) this.#parts.changed();
      await pause(addresses.length > 0 ? this.#parts.everyMs : 1000, signal);
    }
  }

  async #look(address: string, signal: AbortSignal): Promise<string | undefined> {
    const family = familyOf(address);
    const place = placeOf(
      JSON.parse((await this.#parts.exec(['ip', `-${family}`, '-j', 'addr', 'show', 'to', address])) || '[]'),
      address,
    );
    if (!place) return undefined; // the plan says so
    if (family === 6) return place.entry['dadfailed'] === true ? describe(address, place.dev, '') : undefined;
    if (!place.flags.includes('BROADCAST') || !place.flags.includes('LOWER_UP')) return undefined;
    const owner = await this.#askForOthers(address, place.dev, signal);
    return owner && describe(address, place.dev, `, ${owner},`);
  }

  async #askForOthers(address: string, dev: string, signal: AbortSignal): Promise<string | undefined> {
    const arping = programFile('arping');
    if (!arping.includes('/')) {
      const why = 'the program arping is not installed (package iputils-arping)';
      if (!this.#saidLack)
        this.#parts.log('info', "nobody looks for other hosts with this node's IPv4 address", { why });
      this.#saidLack = true;
      return undefined;
    }
    const { stdout } = await execa(arping, ['-D', '-c', '2', '-w', '2', '-I', dev, address], {
      reject: false,
      cancelSignal: signal,
      stderr: 'ignore',
      env: { LC_ALL: 'C' },
    });
    return otherOwner(stdout);
  }
}

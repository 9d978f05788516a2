/**
 * Hears the kernel: `ip monitor` as a long-lived child. A line carries no data for us, it only says "look again". Neighbour events
 * include the forwarding entries of the VXLAN device. Changes of nft tables and of WireGuard's peers are not heard: poll.ts.
 */

import { existsSync } from 'node:fs';
import { execa } from 'execa';
import { routeProtocol } from '../plan/host.ts';
import { deviceNames } from '../plan/overlay.ts';
import type { Log } from './log.ts';
import { pause, type Task } from './task.ts';

const neighbourStates = /\b(?:REACHABLE|STALE|DELAY|PROBE|FAILED|INCOMPLETE|NOARP|PERMANENT)\b/;

/**
 * Whether a line may be about something planned: our devices, our routes, or the interfaces that lead to other nodes. Pods come and go on
 * the same host, and neighbours change state all the time: that is nothing to look for. No devices known: everything is.
 */
export function concernsUs(line: string, devices: ReadonlySet<string>): boolean {
  if (deviceNames.some((name) => line.includes(name))) return true;
  if (/^\s/.test(line)) return false; // the second line of a link or an address
  if (neighbourStates.test(line) && !line.includes('mtu')) return false;
  if (line.includes(`proto ${routeProtocol}`) && line.includes(' via ')) return true;
  if (devices.size === 0) return true;
  const device = /^(?:Deleted )?\d+: ([^:@\s]+)/.exec(line)?.[1] ?? / dev (\S+)/.exec(line)?.[1];
  return device !== undefined && devices.has(device) && !line.includes(' table local ');
}

/** A command that ends with us, also when we are killed. */
export function dyingWithUs(argv: readonly string[]): string[] {
  const guard = ['/usr/bin/setpriv', '/bin/setpriv'].find((file) => existsSync(file));
  return guard ? [guard, '--pdeathsig', 'TERM', '--', ...argv] : [...argv];
}

export class Monitor implements Task {
  readonly name = 'monitor';
  readonly #changed: () => void;
  readonly #devices: () => ReadonlySet<string>;
  readonly #log: Log;

  constructor(changed: () => void, devices: () => ReadonlySet<string>, log: Log) {
    this.#changed = changed;
    this.#devices = devices;
    this.#log = log;
  }

  notReady(): undefined {
    return undefined;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#listen(signal);
      if (signal.aborted) return;
      this.#log('warn', 'ip monitor ended; starting it again');
      await pause(1000, signal);
      this.#changed(); // what happened in between went unheard
    }
  }

  async #listen(signal: AbortSignal): Promise<void> {
    const [program, ...args] = dyingWithUs(['ip', 'monitor', 'link', 'address', 'route', 'neigh']);
    const child = execa(program!, args, {
      stdin: 'ignore',
      stderr: 'ignore', // it complains of namespaces that have gone; unread it would fill its pipe and stop
      buffer: false,
      reject: false,
      cancelSignal: signal,
      env: { LC_ALL: 'C' },
    });
    try {
      for await (const line of child) if (concernsUs(line, this.#devices())) this.#changed();
    } catch {
      // ended by the signal, or by somebody: `run` decides
    }
    await child;
  }
}

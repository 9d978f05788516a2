/**
 * The kernel as programs drive it: iproute2 and nft in batches, /proc/sys by file. Every verb names the network namespace it
 * works in by path; none means the one this process runs in.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CommandError } from '../errors.ts';
import { classify, type Exec } from './exec.ts';
import { linkNames } from './ifaddrs.ts';
import { conntrackBatch, enter, type Orders, type Standby, type StandbyName } from './standby.ts';

/** "key=value" with the key's path below /proc/sys, and whether its absence is no error. */
export interface Sysctl {
  key: string;
  value: string;
  optional?: boolean;
}

export interface Kernel {
  /**
   * A verb says what it is going to need, at most once: these programs are started now, and as many of `ip` here (`ip`,
   * `deleteLinks`), `ip` in that namespace, `bridge`, `tc`, `nft`, `showTable`, `nftInForce` and `conntrack` find theirs running.
   */
  standBy(names: readonly StandbyName[], netns?: string): void;
  /**
   * Sysctls, then lines for `ip -batch`, in one process. Stops at the first line that fails: earlier ones stay. Lines that do not
   * tell their family by an address (rules) mean IPv4 unless it is 6.
   */
  ip(lines: readonly string[], netns?: string, sysctls?: readonly Sysctl[], family?: 4 | 6): Promise<void>;
  /**
   * Deletes links of our own namespace, all in one go, and answers when nobody can see them any more, which takes the kernel a
   * fifth of what it needs until it has waited for all readers of the links: that goes on without us. What is not there is
   * fine: those that were are answered.
   */
  deleteLinks(names: readonly string[]): Promise<string[]>;
  /** Whether our own namespace has such a link, without starting a program. */
  hasLink(name: string): boolean;
  /** Lines for `bridge -batch`. */
  bridge(lines: readonly string[], netns?: string): Promise<void>;
  /** `set DEVICE …` commands of wg in our own namespace, those of one device after another in one process. */
  wg(lines: readonly string[]): Promise<void>;
  /** What `wg show DEVICE dump` prints: the private key too, so it is for no log. Throws CommandError not-found. */
  showWireguard(dev: string): Promise<string>;
  /** Commands of ethtool in our own namespace, each a process. */
  ethtool(lines: readonly string[]): Promise<void>;
  /** What `ethtool -k DEVICE` prints. Throws CommandError: not-found, no-program. */
  showFeatures(dev: string): Promise<string>;
  /** `show` commands of ip, their JSON in order, in one process. `route show` means IPv4 unless the family is 6. */
  show(lines: readonly string[], netns?: string, family?: 4 | 6): Promise<unknown[][]>;
  /** One `show` command of bridge. */
  showBridge(line: readonly string[], netns?: string): Promise<unknown[]>;
  /** Lines for `tc -batch`. Stops at the first line that fails, earlier ones stay; or tries `all` and fails in the end. */
  tc(lines: readonly string[], all?: 'all'): Promise<void>;
  /** What one `show` command of tc prints. */
  showTc(args: readonly string[]): Promise<string>;
  /** One atomic transaction. */
  nft(script: string, netns?: string): Promise<void>;
  /**
   * The same in our own namespace, line by line, for scripts that delete or replace: answers when they are in force. nft ends later,
   * when the kernel has waited for the packets under way, ten milliseconds that nobody else need wait.
   */
  nftInForce(lines: readonly string[]): Promise<void>;
  /** A table of nft as it prints it, protocols as numbers. Throws CommandError not-found. */
  showTable(table: string): Promise<string>;
  /** What an nft command prints. */
  showNft(args: readonly string[], netns?: string): Promise<string>;
  /** Commands of conntrack in one process, which version 1.4.7 was the first to do. */
  conntrack(lines: readonly string[]): Promise<void>;
  readSysctl(key: string): string | undefined;
  writeSysctl(sysctl: Sysctl): void;
}

/**
 * What `ip -j -batch -` prints: one JSON array per command that shows something, each on a line of its own. A route that wraps has
 * the key "dst" twice, the second time for where it wraps to: that one becomes "encap_dst".
 */
function parseBatch(stdout: string): unknown[][] {
  return stdout
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line.replaceAll(/("encap":"ip6?",[^{}]*?)"dst":/g, '$1"encap_dst":')) as unknown[]);
}

/** A command line may be two megabytes long, and a peer takes some 200 bytes. */
const setsPerCommand = 2000;

/** `set wg0 peer A …` and `set wg0 peer B …` are also one: `set wg0 peer A … peer B …`. */
function joinSets(lines: readonly string[]): string[][] {
  const commands: { words: string[]; sets: number }[] = [];
  for (const line of lines) {
    const [verb = '', dev = '', ...rest] = line.split(' ');
    const last = commands.at(-1);
    if (last && last.words[1] === dev && last.sets < setsPerCommand) {
      last.words.push(...rest);
      last.sets++;
    } else {
      commands.push({ words: [verb, dev, ...rest], sets: 1 });
    }
  }
  return commands.map((c) => c.words);
}

function writeSysctlBelow(root: string, { key, value, optional }: Sysctl): void {
  const file = join(root, key);
  try {
    if (readFileSync(file, 'utf8').trim() === value) return;
    writeFileSync(file, value);
  } catch (error) {
    const reason = classify((error as Error).message);
    if (optional) return;
    throw new CommandError(['sysctl', '-w', `${key}=${value}`], undefined, (error as Error).message, reason);
  }
}

/** Of this process, so far. */
let deletions = 0;

/**
 * Links to be deleted by one request, for which the kernel waits once and not once for each: they are put into a group of their own,
 * and the group is deleted. A group that has the same number can only hold what another process is about to delete.
 */
function deletion(names: readonly string[]): string[] {
  if (names.length === 1) return [`link delete dev ${names[0]}`];
  // processes have numbers below 2^22 (proc(5), pid_max)
  const group = 0x40000000 + (deletions++ % 256) * 2 ** 22 + process.pid;
  return [...names.map((name) => `link set dev ${name} group ${group}`), `link delete group ${group}`];
}

/** The line editor of an interactive nft takes its time with longer ones. */
const longestLine = 16_384;

/** Starts programs that stand by in a namespace. */
export type StandBy = (names: readonly StandbyName[], netns: string) => Standby;

/** Those of our own namespace's links. */
function present(names: readonly string[]): string[] {
  const found = new Set(linkNames());
  return names.filter((name) => found.has(name));
}

/** `sysctlRoot` is where sysctls can be written: a container has /proc/sys for reading only. */
export function createKernel(exec: Exec, start?: StandBy, sysctlRoot = '/proc/sys'): Kernel {
  const writeSysctl = (sysctl: Sysctl): void => writeSysctlBelow(sysctlRoot, sysctl);
  const batch = (lines: readonly string[]): string => `${lines.join('\n')}\n`;
  let standby: Standby | undefined;
  let standbyNetns = '';
  /** A program that stands by, for one use. */
  function take(name: StandbyName): Orders | undefined {
    return standby?.orders.get(name)?.shift();
  }
  return {
    standBy(names, netns = '') {
      standby?.dismiss();
      standby = names.length > 0 ? start?.(names, netns) : undefined;
      standbyNetns = netns;
    },
    async ip(lines, netns, sysctls = [], family) {
      const argv = ['ip', ...(family ? [`-${family}`] : []), '-batch', '-'];
      if (!netns) for (const sysctl of sysctls) writeSysctl(sysctl);
      if (lines.length === 0 && (!netns || sysctls.length === 0)) return;
      if (!netns) {
        const orders = family ? undefined : take('ip');
        await (orders ? orders(batch(lines)) : exec(argv, { stdin: batch(lines) }));
        return;
      }
      const head = [...sysctls.map((s) => `${s.optional ? '?' : ''}${s.key}=${s.value}`), ''];
      const orders = netns === standbyNetns && !family ? take('container') : undefined;
      if (orders) await orders(batch([...head, ...lines]), { batch: batch(lines) });
      else if (sysctls.length === 0) await exec(argv, { stdin: batch(lines), netns });
      else await exec(['sh', '-c', enter, 'sh', ...argv], { stdin: batch([...head, ...lines]), netns });
    },
    async deleteLinks(names) {
      const there = present(names);
      if (there.length === 0) return [];
      let ended = false;
      const end = this.ip(deletion(there)).finally(() => {
        ended = true;
      });
      const vanished = (async () => {
        do await sleep(1);
        while (!ended && present(there).length > 0);
      })();
      try {
        await Promise.race([end, vanished]);
        if (ended) await end;
        else end.catch(() => {}); // nobody sees them any more, whatever ip says later
        return there;
      } catch (error) {
        if (!(error instanceof CommandError && error.reason === 'not-found')) throw error;
        if (there.length === 1) return [];
        // somebody else deleted one of them meanwhile: each by itself
        const gone = [];
        for (const name of there) gone.push(...(await this.deleteLinks([name])));
        return gone;
      }
    },
    hasLink: (name) => present([name]).length > 0,
    async bridge(lines, netns) {
      if (lines.length === 0) return;
      const orders = netns ? undefined : take('bridge');
      await (orders ? orders(batch(lines)) : exec(['bridge', '-batch', '-'], { stdin: batch(lines), netns }));
    },
    async wg(lines) {
      for (const argv of joinSets(lines)) await exec(['wg', ...argv]);
    },
    async showWireguard(dev) {
      try {
        return await exec(['wg', 'show', dev, 'dump']);
      } catch (error) {
        if (!(error instanceof CommandError)) throw error;
        const { argv, exitCode, stderr, reason } = error;
        // before the module is loaded, which making a device does, nobody answers for the protocol
        if (reason === 'unsupported') throw new CommandError(argv, exitCode, stderr, 'not-found');
        // of a program that failed silently the output is quoted, and this one's holds keys
        throw reason === 'other' ? new CommandError(argv, exitCode, 'wg could not read the device', reason) : error;
      }
    },
    async ethtool(lines) {
      for (const line of lines) await exec(['ethtool', ...line.split(' ')]);
    },
    showFeatures: (dev) => exec(['ethtool', '-k', dev]),
    async show(lines, netns, family) {
      const options = ['-d', '-j', ...(family ? [`-${family}`] : []), '-batch', '-'];
      return parseBatch(await exec(['ip', ...options], { stdin: batch(lines), netns }));
    },
    async showBridge(line, netns) {
      const stdout = await exec(['bridge', '-d', '-j', ...line], { netns });
      return stdout.trim() === '' ? [] : (JSON.parse(stdout) as unknown[]);
    },
    async tc(lines, all) {
      if (lines.length === 0) return;
      const orders = all ? undefined : take('tc');
      await (orders?.(batch(lines)) ??
        exec(['tc', ...(all ? ['-force'] : []), '-batch', '-'], { stdin: batch(lines) }));
    },
    showTc: (args) => exec(['tc', ...args]),
    async nft(script, netns) {
      const orders = netns ? undefined : take('nft -f');
      await (orders ? orders(script) : exec(['nft', '-f', '-'], { stdin: script, netns }));
    },
    async nftInForce(lines) {
      if (lines.join().length > longestLine) return this.nft(batch(lines));
      // interactive nft runs a line at a time, each in one transaction: when it describes something, the line before is done
      const input = `${lines.join('; ')}\ndescribe ip version\n`;
      const doneWhen = /\d bits/;
      const orders = take('nft -i');
      try {
        // its line editor would keep a history in HOME
        await (orders?.(input, { doneWhen }) ??
          exec(['nft', '-i'], { stdin: input, doneWhen, env: { HOME: '/dev/null' } }));
      } catch (error) {
        // an nft built without its interactive mode, or a command that failed: this tells which
        if (error instanceof CommandError && error.reason !== 'not-found') await this.nft(batch(lines));
        else throw error;
      }
    },
    async showTable(table) {
      const argv = ['list', 'table', ...table.split(' ')];
      return (await take('nft -p')?.(`${argv.join(' ')}\n`)) ?? exec(['nft', '-p', ...argv]);
    },
    showNft: (args, netns) => exec(['nft', ...args], { netns }),
    async conntrack(lines) {
      await (take('conntrack')?.(batch(lines)) ?? exec(['sh', '-c', conntrackBatch], { stdin: batch(lines) }));
    },
    readSysctl(key) {
      try {
        return readFileSync(join(sysctlRoot, key), 'utf8').trim();
      } catch {
        return undefined;
      }
    },
    writeSysctl,
  };
}

/**
 * The kernel as programs drive it: iproute2 and nft in batches, /proc/sys by file. Every verb names the network namespace it
 * works in by path; none means the one this process runs in.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CommandError } from '../errors.ts';
import { classify, type Exec } from './exec.ts';

/** "key=value" with the key's path below /proc/sys, and whether its absence is no error. */
export interface Sysctl {
  key: string;
  value: string;
  optional?: boolean;
}

/**
 * Run by sh in another namespace: writes sysctls, then becomes `ip -batch -`. The text is constant; keys and values are its
 * arguments ("key=value", "?key=value" where it may be absent), so no name is ever read as shell.
 */
const enter = `
while [ "$1" != -- ]; do
  pair=\${1#\\?}; file=/proc/sys/\${pair%%=*}
  if [ -e "$file" ] || [ "$1" = "$pair" ]; then printf '%s' "\${pair#*=}" >"$file" || [ "$1" != "$pair" ] || exit 1; fi
  shift
done
shift; exec "$@"`;

export interface Kernel {
  /** Sysctls, then lines for `ip -batch`, in one process. Stops at the first line that fails: earlier ones stay. */
  ip(lines: readonly string[], netns?: string, sysctls?: readonly Sysctl[]): Promise<void>;
  /**
   * Deletes a link of our own namespace and answers when nobody can see it any more, which takes the kernel a fifth of what it
   * needs until it has waited for all readers of the link: that goes on without us. Throws CommandError not-found.
   */
  deleteLink(name: string): Promise<void>;
  /** Whether our own namespace has such a link, without starting a program. */
  hasLink(name: string): boolean;
  /** Lines for `bridge -batch`. */
  bridge(lines: readonly string[], netns?: string): Promise<void>;
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
   * The same for commands that delete: answers when they are in force. nft ends later, when the kernel has waited for the packets
   * under way, ten milliseconds that nobody else need wait.
   */
  nftDelete(commands: readonly string[]): Promise<void>;
  /** What an nft command prints. */
  showNft(args: readonly string[], netns?: string): Promise<string>;
  readSysctl(key: string): string | undefined;
  writeSysctl(sysctl: Sysctl): void;
}

/** What `ip -j -batch -` prints: one JSON array per command that shows something, each on a line of its own. */
function parseBatch(stdout: string): unknown[][] {
  return stdout
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line) as unknown[]);
}

function writeSysctl({ key, value, optional }: Sysctl): void {
  const file = join('/proc/sys', key);
  try {
    if (readFileSync(file, 'utf8').trim() === value) return;
    writeFileSync(file, value);
  } catch (error) {
    const reason = classify((error as Error).message);
    if (optional) return;
    throw new CommandError(['sysctl', '-w', `${key}=${value}`], undefined, (error as Error).message, reason);
  }
}

/** The kernel's list of links, which is read without waiting for anybody. */
const hasLink = (name: string): boolean =>
  readFileSync('/proc/self/net/dev', 'utf8')
    .split('\n')
    .some((line) => line.trimStart().startsWith(`${name}:`));

export function createKernel(exec: Exec): Kernel {
  const batch = (lines: readonly string[]): string => `${lines.join('\n')}\n`;
  return {
    async ip(lines, netns, sysctls = []) {
      if (netns && sysctls.length > 0) {
        const pairs = sysctls.map((s) => `${s.optional ? '?' : ''}${s.key}=${s.value}`);
        await exec(['sh', '-c', enter, 'sh', ...pairs, '--', 'ip', '-batch', '-'], { stdin: batch(lines), netns });
        return;
      }
      for (const sysctl of sysctls) writeSysctl(sysctl);
      if (lines.length > 0) await exec(['ip', '-batch', '-'], { stdin: batch(lines), netns });
    },
    async deleteLink(name) {
      const argv = ['ip', 'link', 'delete', 'dev', name];
      if (!hasLink(name)) throw new CommandError(argv, undefined, `Cannot find device "${name}"`, 'not-found');
      let ended = false;
      const end = exec(argv).finally(() => {
        ended = true;
      });
      const vanished = (async () => {
        do await sleep(1);
        while (!ended && hasLink(name));
      })();
      await Promise.race([end, vanished]);
      if (ended) await end;
      else end.catch(() => {}); // nobody sees it any more, whatever ip says later
    },
    hasLink,
    async bridge(lines, netns) {
      if (lines.length > 0) await exec(['bridge', '-batch', '-'], { stdin: batch(lines), netns });
    },
    async show(lines, netns, family) {
      const options = ['-d', '-j', ...(family ? [`-${family}`] : []), '-batch', '-'];
      return parseBatch(await exec(['ip', ...options], { stdin: batch(lines), netns }));
    },
    async showBridge(line, netns) {
      const stdout = await exec(['bridge', '-d', '-j', ...line], { netns });
      return stdout.trim() === '' ? [] : (JSON.parse(stdout) as unknown[]);
    },
    async tc(lines, all) {
      const options = all ? ['-force', '-batch'] : ['-batch'];
      if (lines.length > 0) await exec(['tc', ...options, '-'], { stdin: batch(lines) });
    },
    showTc: (args) => exec(['tc', ...args]),
    async nft(script, netns) {
      await exec(['nft', '-f', '-'], { stdin: script, netns });
    },
    async nftDelete(commands) {
      // interactive nft runs a line at a time, each in one transaction: when it describes something, the line before is done
      const stdin = `${commands.join('; ')}\ndescribe ip protocol\n`;
      try {
        // its line editor would keep a history in HOME
        await exec(['nft', '-i'], { stdin, doneWhen: /\bbasetype\b/, env: { HOME: '/dev/null' } });
      } catch (error) {
        // an nft built without its interactive mode, or a command that failed: this tells which
        if (error instanceof CommandError && error.reason !== 'not-found') await this.nft(`${commands.join('\n')}\n`);
        else throw error;
      }
    },
    showNft: (args, netns) => exec(['nft', ...args], { netns }),
    readSysctl(key) {
      try {
        return readFileSync(join('/proc/sys', key), 'utf8').trim();
      } catch {
        return undefined;
      }
    },
    writeSysctl,
  };
}

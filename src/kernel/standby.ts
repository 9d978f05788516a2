/**
 * Programs that stand by before their orders are known. To start one costs this process two or three milliseconds (it is forked
 * with all its memory mapped) and the program as much until it listens, and a pod waits for both. So a verb says early what it
 * will need; one shell starts all of it while addresses are still being found, and each program waits for its input at a socket
 * of its own. Orders go in; what it says comes back, and "exit N" from the shell. One that gets no orders reads the end of its
 * input, and ends without having done anything.
 */

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import type { Duplex } from 'node:stream';
import { failure, programFile, shell as shellFile } from './exec.ts';

/**
 * `ip`, `bridge`, `tc`, `conntrack`: batches in our own namespace; `container`: sysctls and a batch in the container's; `nft -p`: for what it
 * shows; `nft -i`: answers before it ends.
 */
export type StandbyName = 'ip' | 'bridge' | 'tc' | 'container' | 'nft -f' | 'nft -p' | 'nft -i' | 'conntrack';

export interface Standby {
  /** Of a name as many as were asked for. */
  orders: Map<StandbyName, Orders[]>;
  /** Whoever has no orders yet, and the shell, may go. */
  dismiss(): void;
}

/** Gives a program its whole input; answers what it said. Throws CommandError. `doneWhen` as in ExecOptions. */
export type Orders = (input: string, options?: { batch?: string; doneWhen?: RegExp }) => Promise<string>;

/**
 * Run by sh in the container's namespace: reads sysctls up to an empty line ("key=value", "?key=value" where it may be absent),
 * writes them, then becomes the program it was given. The text is constant: no name is ever read as shell.
 */
export const enter = `
while read -r pair && [ -n "$pair" ]; do
  sysctl=\${pair#\\?}; file=/proc/sys/\${sysctl%%=*}
  if [ -e "$file" ] || [ "$pair" = "$sysctl" ]; then
    printf '%s' "\${sysctl#*=}" >"$file" || [ "$pair" != "$sysctl" ] || exit 1
  fi
done
exec "$@"`;

/**
 * Run by sh: conntrack with a batch. It opens /dev/stdin by name, which fails for the socket that a child of Node has there, so
 * the shell reads that and gives it a pipe. Without a line it is not started.
 */
export const conntrackBatch = `
lines=; while read -r line; do lines="$lines$line
"; done
[ -z "$lines" ] || exec conntrack -R - <<END
$lines
END
`;

const commands: Record<StandbyName, string> = {
  ip: '"$ip" -batch -',
  bridge: '"$bridge" -batch -',
  tc: '"$tc" -batch -',
  container: '"$nsenter" "--net=$netns" -- /bin/sh -c "$enter" sh "$ip" -batch -',
  'nft -f': '"$nft" -f -',
  // it writes a word at a time, and each would wake whoever reads
  'nft -p': '{ text=$("$nft" -p -f - 2>&1); code=$?; printf "%s\\n" "$text"; exit $code; }',
  'nft -i': '{ "$nft" -i; echo "exit $?"; }',
  conntrack: `{${conntrackBatch}}`,
};

/** In the order of the shell's arguments. */
const programs = ['ip', 'bridge', 'nft', 'tc', 'nsenter'];

/** It has answered long before it ends: nobody else's end must wait until the shell has heard of this one's. */
const tellsItself = (name: StandbyName): boolean => name === 'nft -i';

/**
 * The shell's text: starts everything, then tells the exit code of each program that it is asked about on its own input. Asked,
 * since it can wait for one at a time only, and must not wait for one that has no orders yet.
 */
function script(names: readonly StandbyName[]): string {
  const starts = names.map((name, i) => `${commands[name]} <&${i + 3} >&${i + 3} 2>&${i + 3} &\np${i + 3}=$!`);
  return `netns=$1 enter=$2 ip=$3 bridge=$4 nft=$5 tc=$6 nsenter=$7
${starts.join('\n')}
while read -r fd; do eval "wait \\$p$fd"; echo "exit $?" >&"$fd"; done`;
}

/** Starts the programs; one that could not be started is not among the answer. `netns` is the container's, by path. */
export function standBy(names: readonly StandbyName[], netns: string, onCommand: (line: string) => void): Standby {
  const isNeeded = (program: string): boolean => names.some((name) => commands[name].includes(`"$${program}"`));
  const files = programs.map((program) => (isNeeded(program) ? programFile(program) : ''));
  // a program that is not installed must not look like a link that is not there: whoever needs it starts it, and hears so
  const isThere = existsSync(shellFile) && files.every((file) => file === '' || isAbsolute(file));
  if (!isThere) return { orders: new Map(), dismiss: () => {} };
  const child = spawn(shellFile, ['-c', script(names), 'sh', netns, enter, ...files], {
    stdio: ['pipe', 'ignore', 'ignore', ...names.map(() => 'pipe' as const)],
    // an interactive nft's line editor would keep a history in HOME
    env: { ...process.env, LC_ALL: 'C', HOME: '/dev/null' },
  });
  child.on('error', () => {}); // no process: its sockets are closed, and whoever gives orders hears of it
  const sockets = child.stdio as (Duplex | null)[] | undefined; // none when there are no descriptors left
  const shell = sockets?.[0];
  shell?.on('error', () => {});
  const orders = new Map<StandbyName, Orders[]>();
  for (const [i, name] of names.entries()) {
    const socket = sockets?.[i + 3];
    if (!socket) continue;
    const askExit = (): void => void (tellsItself(name) || shell?.write(`${i + 3}\n`));
    const listening = listen(name, socket, askExit, onCommand);
    orders.set(name, [...(orders.get(name) ?? []), listening]);
  }
  return { orders, dismiss: () => sockets?.forEach((socket) => void socket?.end()) };
}

function listen(name: StandbyName, socket: Duplex, askExit: () => void, onCommand: (line: string) => void): Orders {
  const argv = [...name.split(' '), 'standing by'];
  let said = '';
  let heard = (): void => {};
  let isClosed = false;
  socket.setEncoding('utf8');
  socket.on('error', () => {}); // it ended without reading everything; its exit code tells
  socket.on('data', (text: string) => {
    said += text;
    heard();
  });
  socket.on('close', () => {
    isClosed = true;
    heard();
  });
  return (input, { batch = input, doneWhen } = {}) => {
    onCommand(`${argv.join(' ')} <<\n${input}`);
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    heard = () => {
      const exit = /(?:^|\n)exit (\d+)\n$/.exec(said);
      if (!exit && !isClosed && !doneWhen?.test(said)) return;
      const text = exit ? said.slice(0, exit.index) : said;
      const isDone = doneWhen ? doneWhen.test(said) && !/\bError\b/.test(said) : exit?.[1] === '0';
      if (isDone) resolve(text);
      else reject(failure(argv, exit ? Number(exit[1]) : undefined, text, batch));
    };
    socket.end(input);
    askExit();
    heard();
    return promise;
  };
}

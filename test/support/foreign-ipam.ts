/**
 * Another vendor's IPAM plugin: a shell script in a folder of its own that records how it was called and answers what the case
 * lays before it. The folder goes onto CNI_PATH.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { binDir, type Host } from './netns.ts';

const script = (dir: string): string => `#!/bin/sh
dir='${dir}'
n=$(ls "$dir/calls" | wc -l)
mkdir "$dir/calls/$n"
env > "$dir/calls/$n/env"
cat > "$dir/calls/$n/stdin"
echo "foreign says $CNI_COMMAND" >&2
[ -e "$dir/$CNI_COMMAND.out" ] && cat "$dir/$CNI_COMMAND.out"
[ -e "$dir/$CNI_COMMAND.fail" ] && exit 1
exit 0
`;

export interface ForeignCall {
  env: Record<string, string>;
  stdin: string;
}

export class ForeignIpam {
  readonly dir: string;
  /** CNI_PATH: its folder, then the suite's. */
  readonly path: string;

  constructor(host: Host) {
    this.dir = join(host.dir, 'foreign');
    this.path = `${this.dir}:${binDir}`;
    mkdirSync(join(this.dir, 'calls'), { recursive: true });
    writeFileSync(join(this.dir, 'foreign'), script(this.dir), { mode: 0o755 });
  }

  /** What a command prints from now on; with `fails`, and exits 1. */
  answer(command: string, output: unknown, fails = false): void {
    const text = typeof output === 'string' ? output : JSON.stringify(output);
    writeFileSync(join(this.dir, `${command}.out`), text);
    if (fails) writeFileSync(join(this.dir, `${command}.fail`), '');
  }

  get calls(): ForeignCall[] {
    const read = (n: string, file: string) => readFileSync(join(this.dir, 'calls', n, file), 'utf8');
    const names = readdirSync(join(this.dir, 'calls')).sort((a, b) => Number(a) - Number(b));
    return names.map((n) => {
      const pairs = read(n, 'env').trim().split('\n');
      const env = Object.fromEntries(pairs.map((p) => [p.slice(0, p.indexOf('=')), p.slice(p.indexOf('=') + 1)]));
      return { env, stdin: read(n, 'stdin') };
    });
  }

  /** CNI_COMMAND of each call so far. */
  get commands(): string[] {
    return this.calls.map((c) => c.env['CNI_COMMAND'] ?? '');
  }
}

/** A folder with only a link to the suite's host-local, under that or another name; answers its path. */
export function linkedHostLocal(host: Host, name = 'host-local'): string {
  const dir = join(host.dir, 'linked');
  if (!existsSync(dir)) mkdirSync(dir);
  symlinkSync(join(binDir, 'host-local'), join(dir, name));
  return dir;
}

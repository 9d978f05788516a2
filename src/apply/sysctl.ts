/** Sysctls as a container has them: /proc/sys/net shows those of the namespace that the reader is in. */

import type { Exec } from '../kernel/exec.ts';

/** Prints the files, each with a NUL after it; one that cannot be read is just the NUL. */
const script = 'for file; do cat "$file" 2>/dev/null; printf "\\0"; done';

/** The values of keys such as "net/ipv4/ip_forward", in one process; undefined for one that is not there. */
export async function readSysctls(
  exec: Exec,
  keys: readonly string[],
  netns: string,
): Promise<ReadonlyMap<string, string | undefined>> {
  if (keys.length === 0) return new Map();
  const files = keys.map((key) => `/proc/sys/${key}`);
  const texts = (await exec(['sh', '-c', script, 'sh', ...files], { netns })).split('\0');
  return new Map(keys.map((key, i) => [key, texts[i]?.trim() || undefined]));
}

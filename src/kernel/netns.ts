/** Network namespaces by path. */

import { statfsSync, statSync } from 'node:fs';

/** NSFS_MAGIC and PROC_SUPER_MAGIC of linux/magic.h: what a bind-mounted namespace and /proc/PID/ns/net lie on. */
const magics = [0x6e736673, 0x9fa0];

export type NetnsState = 'namespace' | 'absent' | 'other';

/** What a path is: a network namespace, nothing, or something else. */
export function netnsState(path: string): NetnsState {
  try {
    if (!statSync(path, { throwIfNoEntry: false })) return 'absent';
    return magics.includes(statfsSync(path).type) ? 'namespace' : 'other';
  } catch (error) {
    const errno = (error as NodeJS.ErrnoException).code;
    return errno === 'ENOENT' || errno === 'ESRCH' || errno === 'ENOTDIR' ? 'absent' : 'other';
  }
}

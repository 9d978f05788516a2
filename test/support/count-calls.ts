/** Counts the file operations of this process: a measure of work that no busy machine can blur. */

import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

export interface Work {
  /** File operations below the folder. */
  calls: number;
  /** Names that folders were read for. */
  names: number;
}

type Call = (...args: unknown[]) => unknown;

/** What `work` does below a folder. */
export function countCalls(below: string, work: () => void): Work {
  const counted: Work = { calls: 0, names: 0 };
  const functions = fs as unknown as Record<string, Call>;
  const originals = Object.entries(functions).filter(([name]) => name.endsWith('Sync'));
  for (const [name, original] of originals) {
    functions[name] = (...args) => {
      if (typeof args[0] === 'string' && args[0].startsWith(below)) counted.calls++;
      const result = original(...args);
      if (name === 'readdirSync') counted.names += (result as unknown[]).length;
      return result;
    };
  }
  const readSync = fs.Dir.prototype.readSync;
  fs.Dir.prototype.readSync = function (this: fs.Dir) {
    counted.names++;
    return readSync.call(this);
  };
  syncBuiltinESMExports();
  try {
    work();
  } finally {
    for (const [name, original] of originals) functions[name] = original;
    fs.Dir.prototype.readSync = readSync;
    syncBuiltinESMExports();
  }
  return counted;
}

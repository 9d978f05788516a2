/** Our own files: `culvert`, which a runtime executes by its own or a plugin's name (src/serve/shim.c), and beside it the Node executable. */

import { statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** The file that plugins' names are links to. */
export const mainName = 'culvert';

/** The Node executable, with everything in it. */
export const nodeName = 'culvert-node';

/** The file that plugins are links to; in an image, the Node executable stands alone, under that name. */
export function mainFile(): string {
  return basename(process.execPath) === nodeName ? join(dirname(process.execPath), mainName) : process.execPath;
}

/** Whether a file is ours, by whatever link. */
export function isOurs(file: { ino: number; dev: number }): boolean {
  return [process.execPath, mainFile()].some((path) => {
    const own = statSync(path, { throwIfNoEntry: false });
    return own !== undefined && file.ino === own.ino && file.dev === own.dev;
  });
}

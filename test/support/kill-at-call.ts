/**
 * Preloaded into a plugin (`node --import`): ends it with SIGKILL at its n-th file operation below a folder, so that every point
 * at which it can die is tried. A write dies half done, anything else undone. KILL_AT is n, KILL_BELOW the folder.
 */

import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const killAt = Number(process.env['KILL_AT']);
const below = process.env['KILL_BELOW'] ?? '';
let calls = 0;

type Call = (...args: unknown[]) => unknown;
const functions = fs as unknown as Record<string, Call>;

for (const name of Object.keys(functions).filter((n) => n.endsWith('Sync'))) {
  const original = functions[name]!;
  functions[name] = (...args) => {
    if (typeof args[0] === 'string' && args[0].startsWith(below) && ++calls === killAt) {
      try {
        if (name === 'writeFileSync') original(args[0], String(args[1]).slice(0, 1), args[2]);
      } finally {
        process.kill(process.pid, 'SIGKILL');
      }
    }
    return original(...args);
  };
}
syncBuiltinESMExports();

/** Bundles that the executable has beside the start-up snapshot. */

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import vm from 'node:vm';

/** `compiled`: the code cache of the same text by the same V8, flags and start-up snapshot; another one is not used. */
export const compileBundle = (name: string, text: string, compiled?: Buffer): vm.Script =>
  new vm.Script(`(function (exports, require, module) {${text}\n})`, {
    filename: name,
    ...(compiled && { cachedData: compiled }),
  });

/** Runs a bundle and answers what it exports; `load` has what else it asks for than Node's own modules. */
export function runBundle(script: vm.Script, load: (id: string) => unknown): unknown {
  const module = { exports: {} };
  const requireBuiltin = createRequire(process.execPath);
  script.runInThisContext()(module.exports, (id: string) => load(id) ?? requireBuiltin(id), module);
  return module.exports;
}

/** Writes FILE.cache: what V8 has compiled of a bundle by the time it has been loaded. */
export function writeCodeCache(file: string): void {
  const text = readFileSync(file, 'utf8');
  const script = compileBundle(file, text);
  runBundle(script, () => undefined);
  const compiled = script.createCachedData();
  if (compileBundle(file, text, compiled).cachedDataRejected)
    throw new Error(`V8 refuses its own code cache of ${file}`);
  writeFileSync(`${file}.cache`, compiled);
}

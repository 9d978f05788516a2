/**
 * The only entry point. Which program this is says the name it was called by: a plugin's name (or `culvert` with a runtime's
 * variables) is a plugin, `culvert` is the command line, `kubectl-culvert` its command `kubectl`. The plugins live in the start-up
 * snapshot; the command line with its libraries is a second bundle inside the executable, read only when asked for, so that no
 * pod pays for it; the Kubernetes client a third, so that no other agent does.
 */

import { readFileSync, writeSync } from 'node:fs';
import { basename } from 'node:path';
import { getAsset, getRawAsset, isSea } from 'node:sea';
import { setFlagsFromString, startupSnapshot } from 'node:v8';
import { plugins } from '../plugins/plugins.ts';
import { compileBundle, runBundle, writeCodeCache } from './bundle.ts';
import { type Io, runPlugin } from './cni/skel.ts';
import { createMachine } from './kernel/machine.ts';
import { rehearse } from './rehearse.ts';

/** What the second bundle exports. */
type Cli = (argv: string[]) => Promise<number>;

function createIo(): Io {
  return {
    env: process.env,
    readStdin: () => readFileSync(0, 'utf8'),
    stdout: (text) => writeAll(1, text),
    stderr: (text) => writeAll(2, text),
  };
}

/** All of a text, though a pipe may take only part of it at a time; a reader that has gone is no error of ours. */
function writeAll(fd: number, text: string): void {
  let rest = Buffer.from(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
    }
  }
}

/** What another bundle of the executable exports. */
function loadBundle(name: string): unknown {
  const compiled = Buffer.from(getRawAsset(`${name}.cache`) as ArrayBuffer);
  const script = compileBundle(name, getAsset(name, 'utf8'), compiled);
  return runBundle(script, (id) => (id === './library.ts' ? loadBundle('kubernetes.cjs') : undefined));
}

const loadCli = async (): Promise<Cli> =>
  ((isSea() ? loadBundle('cli.cjs') : await import('./cli/cli.ts')) as { main: Cli }).main;

/** What a runtime sets for a call (CNI specification, section 2). One of them tells it from a person, also when it forgets the command. */
const runtimeVariables = ['CNI_COMMAND', 'CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'];

async function main(): Promise<void> {
  const called = basename(process.env['CULVERT_CALLED_AS'] ?? process.argv0);
  const asPlugin = called !== 'culvert' || runtimeVariables.some((name) => process.env[name] !== undefined);
  const plugin = asPlugin ? plugins.get(called) : undefined;
  if (plugin) {
    // nothing here runs long enough to earn back what compiling it further costs
    for (const flag of ['--no-sparkplug', '--no-opt']) setFlagsFromString(flag);
    process.exit(await runPlugin(plugin, createMachine(), createIo()));
  }
  const cli = await loadCli();
  const args = process.argv.slice(2);
  process.exitCode = await cli(called === 'kubectl-culvert' ? ['kubectl', ...args] : args);
}

/** Whatever escapes is a bug, and still the runtime must read an error object. */
function die(error: unknown): void {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  writeAll(2, `${text}\n`);
  if (process.env['CNI_COMMAND'] !== undefined) {
    writeAll(
      1,
      `${JSON.stringify({ cniVersion: '1.1.0', code: 999, msg: `internal error: ${text.split('\n')[0]}` })}\n`,
    );
  }
  process.exit(1);
}

const start = (): void => void main().catch(die);

if (startupSnapshot.isBuildingSnapshot()) {
  // not in an executable yet: scripts/build.ts, for V8 takes compiled code only with the snapshot that it was compiled under
  startupSnapshot.setDeserializeMainFunction(() => (isSea() ? start() : process.argv.slice(1).forEach(writeCodeCache)));
  void rehearse(plugins);
} else {
  start();
}

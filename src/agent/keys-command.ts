/** `culvert keys`: this node's public WireGuard key, as the cluster file has it. */

import { type Command, exitCode } from '../command.ts';
import type { Machine } from '../kernel/machine.ts';
import { ensurePublicKey } from '../store/keys.ts';
import { defaultConfigFile, readConfigOption } from './agent.ts';
import { readConfig } from './config.ts';
import { privateKeyFile } from './keys.ts';

async function run(args: string[], machine: Machine): Promise<number> {
  const options = readConfigOption(args, { json: { type: 'boolean' } });
  const notes: string[] = [];
  const config = readConfig(options.config, notes);
  for (const note of notes) machine.warn(note);
  const file = privateKeyFile(config);
  const publicKey = ensurePublicKey(file);
  const document = { node: config.node, publicKey, privateKeyFile: file };
  if (options['json']) process.stdout.write(`${JSON.stringify(document)}\n`);
  else process.stdout.write(`    publicKey: "${publicKey}"\n`);
  return exitCode.fine;
}

export const keysCommand: Command = {
  name: 'keys',
  summary: "print this node's line for the cluster file: its public WireGuard key",
  help: `usage: culvert keys [--config FILE] [--json]

Prints the line that belongs under this node's entry in the cluster file. Makes the private key when there is none, in the file
wireguard.key of the agent's paths.state, readable by its owner only; it is never printed.

  --config FILE   the agent's configuration (default ${defaultConfigFile})
  --json          node, publicKey and privateKeyFile as JSON

Exit codes: 0 printed, 2 wrong usage, 3 the key could not be read or made.`,
  run,
};

/** The command line: a table of commands, nothing more. */

import { plugins } from '../../plugins/plugins.ts';
import { agentCommand } from '../agent/agent.ts';
import { installCommand } from '../agent/install/command.ts';
import { keysCommand } from '../agent/keys-command.ts';
import { modeCommand } from '../agent/mode-command.ts';
import { planCommand } from '../agent/plan-command.ts';
import { uninstallCommand } from '../agent/uninstall/command.ts';
import { type Command, exitCode, UsageError } from '../command.ts';
import { createMachine } from '../kernel/machine.ts';
import { lab } from '../lab/command.ts';
import { ipam } from './ipam.ts';
import { kubectlCommand } from './kubectl/command.ts';
import { pluginsCommand } from './plugins.ts';
import { probeCommand } from './probe.ts';
import { serveCommand } from './serve.ts';
import { validate } from './validate.ts';
import { version } from './version.ts';

const pluginNames: readonly string[] = [...plugins.keys()];

const commands: readonly Command[] = [
  agentCommand(pluginNames),
  planCommand,
  modeCommand,
  probeCommand,
  keysCommand,
  installCommand(pluginNames),
  uninstallCommand(pluginNames),
  kubectlCommand,
  ipam,
  lab,
  serveCommand,
  pluginsCommand,
  validate,
];

function overview(): string {
  const width = Math.max(...commands.map((c) => c.name.length), 0);
  const lines = commands.map((c) => `  ${c.name.padEnd(width)}  ${c.summary}`);
  return `culvert ${version}: pod networking between Linux nodes, overlaid or routed\n\nusage: culvert COMMAND [OPTION ...]\n\n${lines.join('\n')}\n\nculvert COMMAND --help tells more of one.\n`;
}

/** Whoever reads may stop reading, as `head` does: the work goes on, for a lab has to be taken down all the same. */
function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
}

/**
 * Runs a command line (without the program's name) and answers the exit code. The machine is made here: one of the other
 * bundle would throw that bundle's error classes, which nobody here would know.
 */
export async function main(argv: string[]): Promise<number> {
  process.stdout.on('error', ignoreClosedPipe);
  const [name, ...args] = argv;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(overview());
    return name === undefined ? exitCode.usage : exitCode.fine;
  }
  if (name === '--version' || name === 'version') {
    process.stdout.write(`culvert ${version}\n`);
    return exitCode.fine;
  }
  const command = commands.find((c) => c.name === name);
  if (!command) {
    process.stderr.write(`culvert: unknown command "${name}"\n\n${overview()}`);
    return exitCode.usage;
  }
  // what follows "--" is another program's command line
  const own = args.includes('--') ? args.slice(0, args.indexOf('--')) : args;
  if (own.includes('--help') || own.includes('-h')) {
    process.stdout.write(`${command.help.trimEnd()}\n`);
    return exitCode.fine;
  }
  try {
    return await command.run(args, createMachine());
  } catch (error) {
    if (error instanceof UsageError || (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS')) {
      process.stderr.write(`culvert ${name}: ${(error as Error).message}\n\n${command.help.trimEnd()}\n`);
      return exitCode.usage;
    }
    process.stderr.write(`culvert ${name}: ${(error as Error).message}\n`);
    return exitCode.couldNotLook;
  }
}

/** `culvert lab demo`: options, colours and signals around the demo. */

import { parseArgs, styleText } from 'node:util';
import { exitCode, UsageError } from '../command.ts';
import type { Machine } from '../kernel/machine.ts';
import { Demo } from './demo.ts';
import type { Paint } from './demo-report.ts';
import { abandonedLabs } from './lab.ts';
import { labOptions, openLab, readTopologyFile } from './open.ts';
import { defaultStateDir } from './place.ts';

const demoPrefix = 'culvert-demo-';

const options = {
  ...labOptions,
  checks: { type: 'boolean', default: false },
  json: { type: 'string' },
} as const;

/** Colour only where somebody looks; styleText itself minds NO_COLOR and pipes. */
const paint: Paint = (colour, text) => styleText(colour, text, { stream: process.stdout });

/**
 * Ctrl-C, a closed terminal and a reader that goes away (`| head`) stop the demo at its next step, so that it cleans up; the
 * second time it is already at it.
 */
function interruption(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (!controller.signal.aborted) process.stderr.write('\ninterrupted: cleaning up ...\n');
      controller.abort();
    });
  }
  process.stdout.on('error', () => controller.abort());
  process.stderr.on('error', () => {}); // nobody to tell
  return controller.signal;
}

export async function runDemo(args: string[], machine: Machine): Promise<number> {
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true });
  const [file, ...extra] = positionals;
  if (file === undefined || extra.length > 0) throw new UsageError('demo: want one topology FILE');
  const { state = defaultStateDir } = values;
  // one of its own for each run, so that two can go side by side; what killed ones left goes first
  const lab = openLab({ ...values, name: values.name ?? `${demoPrefix}${process.pid}` }, machine);
  for (const name of abandonedLabs(demoPrefix, state)) await openLab({ ...values, name }, machine).down();
  const demo = new Demo(
    lab,
    {
      document: readTopologyFile(file),
      checksOnly: values.checks,
      jsonFile: values.json,
      signal: interruption(),
      say: (text) => void process.stdout.write(`${text}\n`),
      paint,
    },
    machine,
  );
  return (await demo.run()) ? exitCode.fine : exitCode.problems;
}

/** A machine that has no links and no rules, and takes every change: nothing is run, everything is written down. */

import { join } from 'node:path';
import { CommandError } from '../../src/errors.ts';
import type { ExecOptions } from '../../src/kernel/exec.ts';
import { createKernel, type Sysctl } from '../../src/kernel/kernel.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import { binDir } from './netns.ts';

/** `record` takes every command line with its input and every sysctl; `absent` says how a question about a link ends. */
export function recordingMachine(record: string[], absent: () => 'error' | 'nothing'): Machine {
  const exec = async (argv: readonly string[], options: ExecOptions = {}): Promise<string> => {
    record.push([...argv, options.netns ?? '', options.stdin ?? ''].join('\n'));
    const asks = argv.includes('-j') || argv.includes('list');
    if (!asks) return '';
    if (absent() === 'error') throw new CommandError(argv, 1, 'Cannot find device "x"', 'not-found');
    return argv.includes('nft') ? '' : '[]\n'.repeat(options.stdin?.trim().split('\n').length ?? 1);
  };
  const kernel = createKernel(exec);
  const note = (sysctls: readonly Sysctl[]) => record.push(...sysctls.map((s) => `${s.key}\n${s.value}`));
  return {
    exec,
    executable: join(binDir, 'culvert'),
    stderr() {},
    warn() {},
    kernel: {
      ...kernel,
      writeSysctl: (sysctl) => void note([sysctl]),
      ip: (lines, netns, sysctls = []) => {
        note(sysctls);
        return kernel.ip(lines, netns, netns ? sysctls : []);
      },
    },
  };
}

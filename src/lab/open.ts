/** What all of `culvert lab` share: the options that say which lab, and the topology file. */

import { readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { parseYaml } from '../cluster/document.ts';
import { UsageError } from '../command.ts';
import type { Machine } from '../kernel/machine.ts';
import { Lab } from './lab.ts';
import { defaultStateDir } from './place.ts';
import { hostName } from './schema.ts';

export const labOptions = {
  name: { type: 'string' },
  state: { type: 'string' },
  bin: { type: 'string' },
} as const;

export interface LabValues {
  name?: string | undefined;
  state?: string | undefined;
  bin?: string | undefined;
}

/** The lab that the options name. Throws UsageError, and an Error when this is not root. */
export function openLab({ name = 'culvert', state = defaultStateDir, bin }: LabValues, machine: Machine): Lab {
  if (!hostName.safeParse(name).success)
    throw new UsageError(`--name: got "${name}", want 1 to 32 lower case letters, digits and "-"`);
  if (process.geteuid?.() !== 0) throw new Error('network namespaces need root: run it as root, or with sudo in front');
  const own = basename(machine.executable) === 'culvert' ? dirname(machine.executable) : undefined;
  return new Lab({ name, stateDir: state, binDir: bin ?? own }, machine);
}

/** The YAML document of a file. Throws UsageError. */
export function readTopologyFile(file: string): unknown {
  try {
    return parseYaml(readFileSync(file, 'utf8'), file);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** What the agent would make of this host now, for commands that only look: all that it goes by, read from where it keeps it. */

import { FileSource } from '../cluster/file.ts';
import type { Exec } from '../kernel/exec.ts';
import { createKernel } from '../kernel/kernel.ts';
import { withAbleCandidates } from './candidates.ts';
import { type AgentConfig, withTraffic } from './config.ts';
import { look } from './converge.ts';
import { withKeys } from './keys.ts';
import { readTxChecksums } from './offload.ts';
import { readPathMtus } from './path-mtu.ts';
import { clusterFile } from './source.ts';
import { readChosen } from './ways.ts';

/** Changes nothing. Throws ConfigError, PlanError, or CommandError when the host cannot be read. */
export async function outlookOf(config: AgentConfig, exec: Exec) {
  const source = new FileSource(clusterFile(config));
  const view = source.read();
  const able = await withAbleCandidates(withTraffic(config, view), exec);
  const settings = withKeys({ ...able, auto: { ...able.auto, chosen: readChosen(config.paths.run) } }, false);
  const outlook = await look({
    view,
    settings,
    kernel: createKernel(exec, undefined, config.paths.sysctls),
    pathMtus: readPathMtus(config),
    txChecksums: readTxChecksums(config),
  });
  return { view, settings, notes: source.notes, ...outlook };
}

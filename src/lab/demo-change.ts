/** The demo's last step: `culvert mode set` takes the cluster to another mode while pods ping each other. */

import { join } from 'node:path';
import type { Machine } from '../kernel/machine.ts';
import type { Check } from './check.ts';
import type { Lab } from './lab.ts';
import type { Endpoint } from './ping.ts';
import { type Pings, pinging } from './pinging.ts';
import { labVariable } from './place.ts';
import type { Topology } from './topology.ts';

/** Between two echoes of one pair of pods. */
const everyMs = 5;

const total = (all: readonly Pings[], key: 'sent' | 'lost'): number => all.reduce((sum, p) => sum + p[key], 0);

/** Changes the mode of a lab that is up, from its first node; `say` takes what the command prints. */
export async function checkLiveChange(
  lab: Lab,
  { nodes, families }: Topology,
  pods: readonly Endpoint[],
  mode: string,
  machine: Machine,
  say: (lines: readonly string[]) => void,
): Promise<Check> {
  const { place } = lab;
  const [first, ...others] = nodes.flatMap((n) => pods.find((p) => p.node === n.name) ?? []);
  const env = { ...process.env, [labVariable]: place.lab };
  const flows = others.flatMap((to) =>
    families.map((f) => pinging(place.netns(first!.host), to.addresses[f]!, everyMs, env)),
  );
  const { agentYaml } = place.node(first!.node);
  const command = [join(lab.binDir, 'culvert'), 'mode', 'set', mode, '--config', agentYaml];
  let failure: string | undefined;
  try {
    const printed = await machine.exec(command, { netns: place.netns(first!.node), timeoutMs: 120_000 });
    say(printed.trimEnd().split('\n'));
  } catch (error) {
    failure = (error as Error).message;
  }
  const pings = await Promise.all(flows.map((flow) => flow.stop()));
  const [sent, lost] = [total(pings, 'sent'), total(pings, 'lost')];
  return {
    what: `the mode changes while ${flows.length} streams of ${1000 / everyMs} packets a second flow`,
    ok: failure === undefined && sent > 0 && lost === 0,
    want: `0 of ${sent} packets lost`,
    got: failure ?? `${lost} of ${sent} packets lost`,
  };
}

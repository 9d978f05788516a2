/** What of mode auto's candidates this host can have at all: tried in a network namespace of its own, which nobody sees, where one can be made. */

import { CommandError } from '../errors.ts';
import type { Exec } from '../kernel/exec.ts';
import { type ClusterTraffic, PlanError, type WayMode } from '../plan/cluster.ts';
import { type AutoSettings, isAuto } from '../plan/settings.ts';

/** The links that each takes, in the words of `ip link add`. */
const links: Readonly<Record<WayMode, readonly string[]>> = {
  routed: [],
  ipip: ['type ipip local 127.0.0.1', 'type ip6tnl external'],
  vxlan: ['type vxlan id 1 dstport 4789'],
  wireguard: ['type wireguard'],
};

const tryName = 'culvert-try';

/** Throws CommandError when there can be no such link. */
async function tryLink(link: string, exec: Exec): Promise<void> {
  const add = ['ip', 'link', 'add', 'name', tryName, ...link.split(' ')];
  try {
    await exec(['unshare', '--net', ...add]);
  } catch (error) {
    if (!(error instanceof CommandError) || error.reason !== 'denied') throw error;
    await tryLinkHere(add, exec);
  }
}

/** A container may make links but no network namespaces. One of the kind that is there already says the same. */
async function tryLinkHere(add: readonly string[], exec: Exec): Promise<void> {
  try {
    await exec(add);
    await exec(['ip', 'link', 'delete', 'dev', tryName]);
  } catch (error) {
    if (!(error instanceof CommandError) || error.reason !== 'exists') throw error;
  }
}

async function lackOf(way: WayMode, exec: Exec): Promise<string | undefined> {
  for (const link of links[way]) {
    try {
      await tryLink(link, exec);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      const said =
        error.reason === 'unsupported' ? `this kernel has no links of ${link.split(' ', 2).join(' ')}` : error.message;
      return `${way}: ${said}`;
    }
  }
  try {
    if (way === 'wireguard') await exec(['wg', '--version']);
    return undefined;
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return `${way}: the program wg is not installed (package wireguard-tools)`;
  }
}

/** The candidates that can be had, and why the others cannot. Throws PlanError when none can. */
export async function ableCandidates({ candidates }: AutoSettings, exec: Exec) {
  const lacks = await Promise.all(candidates.map((way) => lackOf(way, exec)));
  const able = candidates.filter((_, i) => lacks[i] === undefined);
  const lacking = lacks.filter((l) => l !== undefined);
  if (able.length === 0)
    throw new PlanError(`mode auto: none of its candidates can be had here: ${lacking.join('; ')}`);
  return { able, lacking };
}

/** The settings with those candidates alone that can be had; what is lacking goes to `say`. */
export async function withAbleCandidates<T extends ClusterTraffic & { readonly auto: AutoSettings }>(
  settings: T,
  exec: Exec,
  say: (lack: string) => void = () => {},
): Promise<T> {
  if (!isAuto(settings)) return settings;
  const { able, lacking } = await ableCandidates(settings.auto, exec);
  for (const lack of lacking) say(lack);
  return { ...settings, auto: { ...settings.auto, candidates: able } };
}

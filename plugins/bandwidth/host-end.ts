/** The host's end of the container's veth pair, as the bandwidth plugin finds it behind any suite's interface plugin. */

import { linksOf } from '../../src/apply/read.ts';
import { code } from '../../src/cni/error.ts';
import type { Request, Result } from '../../src/cni/types.ts';
import { show } from '../../src/decode.ts';
import { CniError } from '../../src/errors.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import { hostVethName, isInterfaceName } from '../../src/net/name.ts';
import { idOf } from '../attachment/veth.ts';

const onHost = (previous: Result): string[] =>
  previous.interfaces.filter((i) => !i.sandbox && isInterfaceName(i.name)).map((i) => i.name);

/** By its name, which is computed where our plugins made it. */
const ownEnd = (request: Request, previous: Result): string | undefined => {
  const own = hostVethName(idOf(request));
  return onHost(previous).includes(own) ? own : undefined;
};

/** By asking the container for its link's other end. */
async function foreignEnd(request: Request, previous: Result, kernel: Kernel): Promise<string | undefined> {
  const [[inPod = []], [links = []]] = await Promise.all([
    kernel.show([`link show dev ${request.ifname}`], request.netns),
    kernel.show(['link show']),
  ]);
  const pod = linksOf(inPod)[0];
  const host = linksOf(links).find((l) => l.index === pod?.peerIndex && l.peerIndex === pod.index);
  return host?.kindName === 'veth' && onHost(previous).includes(host.name) ? host.name : undefined;
}

/** Throws CniError 7 when the container's interface is no veth, or its other end is not on the host or not in the result. */
export async function hostEnd(request: Request, previous: Result, kernel: Kernel): Promise<string> {
  const name = ownEnd(request, previous) ?? (await foreignEnd(request, previous, kernel));
  if (name !== undefined) return name;
  throw new CniError(
    code.invalidConfig,
    `no host end of ${show(request.ifname)}: got ${show(onHost(previous))} on the host in prevResult, want the other end of its veth pair`,
    'chain bandwidth behind a plugin that makes a veth pair, such as bridge or ptp',
  );
}

/** For DEL, which can do without: our own name, or the last one on the host that the result has and the kernel too. */
export const hostEndLeft = (request: Request, previous: Result | undefined, kernel: Kernel): string => {
  const own = hostVethName(idOf(request));
  if (kernel.hasLink(own) || !previous) return own;
  return onHost(previous).findLast((name) => name.startsWith('veth') && kernel.hasLink(name)) ?? own;
};

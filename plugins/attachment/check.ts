/** CHECK of what every attachment has: a sandbox and a MAC, and by a veth pair two ends that are each other's. */

import { differences, type Found, pairProblems } from '../../src/apply/check.ts';
import type { Interface, Request, Result } from '../../src/cni/types.ts';
import { show } from '../../src/decode.ts';
import type { Problem } from '../../src/errors.ts';
import { mergeStates } from '../../src/plan/host.ts';

export const inContainer = (p: Problem): Problem => ({ ...p, path: `container: ${p.path}` });

export const macOf = (i: Interface | undefined) => (i?.mac ? { address: i.mac } : {});

/** The container's interface: as the result names it, in this sandbox, with its MAC. */
export function interfaceProblems({ ifname, netns }: Request, previous: Result, pod: Found): Problem[] {
  const container = previous.interfaces.find((i) => i.name === ifname && i.sandbox);
  const problems: Problem[] = [];
  if (!container) {
    problems.push({ path: 'prevResult interfaces', got: `no ${show(ifname)} in a sandbox`, want: 'the one of ADD' });
  } else if (container.sandbox !== netns) {
    problems.push({ path: 'prevResult sandbox', got: show(container.sandbox), want: show(netns) });
  }
  if (container?.mac && pod.links.some((l) => l.name === ifname)) {
    const wanted = mergeStates({ links: [{ name: ifname, make: { kind: 'given' }, ...macOf(container) }] });
    problems.push(...differences(pod.state, wanted).map(inContainer));
  }
  return problems;
}

/** `port` is the host's end as the result names it. */
export function vethProblems(
  request: Request,
  previous: Result,
  port: Interface | undefined,
  { host, pod }: { host: Found; pod: Found },
): Problem[] {
  const { ifname } = request;
  const podLink = pod.links.find((l) => l.name === ifname);
  const problems = interfaceProblems(request, previous, pod);
  if (port) {
    const portLink = host.links.find((l) => l.name === port.name);
    problems.push(...pairProblems(portLink, podLink, port.name, ifname));
  } else {
    problems.push({ path: 'prevResult interfaces', got: 'no host interface', want: 'the host end of ADD' });
  }
  return problems;
}

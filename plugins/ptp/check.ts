/** CHECK of `ptp`: everything ADD promised, compared with what is there. */

import { differences, type Found, kindProblems, readAll } from '../../src/apply/check.ts';
import { requirePrevResult } from '../../src/cni/conf.ts';
import { driftError } from '../../src/cni/error.ts';
import { requireNetns } from '../../src/cni/skel.ts';
import type { Request, Result } from '../../src/cni/types.ts';
import type { Problem } from '../../src/errors.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import { type LinkState, mergeStates } from '../../src/plan/host.ts';
import { inContainer, macOf, vethProblems } from '../attachment/check.ts';
import { masqueradeProblems } from '../attachment/masquerade.ts';
import { forward } from '../attachment/veth.ts';
import { decodePtpConf } from './conf.ts';
import { complete, hostShare, kernelRoutes, podShare, type RoutedIp } from './plan.ts';

/** Everything ADD promised, compared with what is there; every difference is named. */
export async function check(request: Request, machine: Machine): Promise<void> {
  const conf = decodePtpConf(request);
  requireNetns(request);
  await forward(conf.ipamType, request, machine);
  const previous = requirePrevResult(request);
  const ips = complete(conf, previous);
  const { kernel } = machine;
  const [host, pod] = await Promise.all([readAll(kernel), readAll(kernel, request.netns)]);
  const problems = [
    ...hostProblems(request, previous, ips, { host, pod }),
    ...containerProblems(request, previous, ips, pod).map(inContainer),
    ...(conf.ipMasq ? await masqueradeProblems(request, previous, kernel) : []),
  ];
  if (problems.length > 0) throw driftError(problems);
}

function hostProblems(
  request: Request,
  previous: Result,
  ips: readonly RoutedIp[],
  found: { host: Found; pod: Found },
): Problem[] {
  const port = previous.interfaces.find((i) => !i.sandbox);
  const problems = vethProblems(request, previous, port, found);
  if (!port) return problems;
  const link: LinkState = { name: port.name, make: { kind: 'veth' }, up: true, ...macOf(port) };
  const share = { ...hostShare(port.name, ips), links: [link], sysctls: [] };
  return [...problems, ...kindProblems(found.host.links, [link]), ...differences(found.host.state, mergeStates(share))];
}

/** The container's sysctls are its own business once it runs; its networks straight on the link are not. */
function containerProblems({ ifname }: Request, previous: Result, ips: readonly RoutedIp[], pod: Found): Problem[] {
  const straight = (kernelRoutes(ifname, ips).routes ?? []).filter((route) =>
    pod.state.routes.some((r) => r.prefix === route.prefix && r.dev === ifname && r.protocol === 'kernel'),
  );
  return [
    ...differences(pod.state, mergeStates({ ...podShare(ifname, ips, previous.routes), sysctls: [] })),
    ...straight.map((r) => ({ path: `route ${r.prefix}`, got: 'straight on the link', want: 'only by the gateway' })),
  ];
}

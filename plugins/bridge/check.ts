/** CHECK of `bridge`: everything ADD promised, compared with what is there. */

import { vlanGatewayName } from '../../src/apply/bridge.ts';
import { differences, type Found, kindProblems, readAll } from '../../src/apply/check.ts';
import { requirePrevResult } from '../../src/cni/conf.ts';
import { driftError } from '../../src/cni/error.ts';
import { requireNetns } from '../../src/cni/skel.ts';
import type { Request, Result } from '../../src/cni/types.ts';
import type { Problem } from '../../src/errors.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import { formatPrefix } from '../../src/net/prefix.ts';
import { type LinkState, mergeStates, type NamespaceState } from '../../src/plan/host.ts';
import { inContainer, macOf, vethProblems } from '../attachment/check.ts';
import { masqueradeProblems } from '../attachment/masquerade.ts';
import { forward } from '../attachment/veth.ts';
import { type BridgeConf, decodeBridgeConf } from './conf.ts';
import { gatewaysOf, podShare, portAttributes } from './plan.ts';

/** Everything ADD promised, compared with what is there; every difference is named. */
export async function check(request: Request, machine: Machine): Promise<void> {
  const conf = decodeBridgeConf(request);
  requireNetns(request);
  if (conf.ipamType) await forward(conf.ipamType, request, machine);
  const previous = requirePrevResult(request);
  const { kernel } = machine;
  const [host, pod] = await Promise.all([readAll(kernel), readAll(kernel, request.netns)]);
  const problems = [
    ...interfaceProblems(request, conf, previous, host, pod),
    ...differences(pod.state, mergeStates(wantedPod(request, conf, previous))).map(inContainer),
    ...(conf.ipMasq ? await masqueradeProblems(request, previous, kernel) : []),
  ];
  if (problems.length > 0) throw driftError(problems);
}

/** The container's share as the result promised it; sysctls are the container's own business once it runs. */
function wantedPod(request: Request, conf: BridgeConf, previous: Result): Partial<NamespaceState> {
  if (conf.disableContainerInterface) return {};
  const share = podShare(request, conf, { ips: previous.ips, routes: previous.routes });
  return { ...share, sysctls: [] };
}

function interfaceProblems(request: Request, conf: BridgeConf, previous: Result, host: Found, pod: Found): Problem[] {
  const onHost = previous.interfaces.filter((i) => !i.sandbox);
  const bridge = onHost.find((i) => i.name === conf.bridge);
  const port = onHost.find((i) => i.name !== conf.bridge && i.name !== vlanGatewayName(conf.bridge, conf.vlan));
  const gateways = conf.vlan === 0 ? gatewaysOf(conf, previous) : [];
  const wanted: LinkState[] = [
    { name: conf.bridge, make: { kind: 'bridge' }, up: true, promisc: conf.promiscMode, ...macOf(bridge) },
    ...(port
      ? [{ name: port.name, make: { kind: 'veth' }, up: true, ...portAttributes(conf), ...macOf(port) } as LinkState]
      : []),
  ];
  const addresses = gateways.map((g) => ({ dev: conf.bridge, address: formatPrefix(g) }));
  return [
    ...vethProblems(request, previous, port, { host, pod }),
    ...kindProblems(host.links, wanted),
    ...differences(host.state, mergeStates({ links: wanted, addresses })),
  ];
}

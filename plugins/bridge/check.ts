/** CHECK of `bridge`: everything ADD promised, compared with what is there. */

import { vlanGatewayName } from '../../src/apply/bridge.ts';
import { differences, type Found, kindProblems, pairProblems, readAll } from '../../src/apply/check.ts';
import { missingMasquerade } from '../../src/apply/masquerade.ts';
import { readPrevResult } from '../../src/cni/conf.ts';
import { code, driftError } from '../../src/cni/error.ts';
import { openIpam } from '../../src/cni/ipam.ts';
import { requireNetns } from '../../src/cni/skel.ts';
import type { Interface, Request, Result } from '../../src/cni/types.ts';
import { show } from '../../src/decode.ts';
import { CniError, type Problem } from '../../src/errors.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import { formatAddress } from '../../src/net/address.ts';
import { attachmentLabel, attachmentMark, hostVethName } from '../../src/net/name.ts';
import { formatPrefix } from '../../src/net/prefix.ts';
import { type LinkState, mergeStates, type NamespaceState } from '../../src/plan/host.ts';
import { ipamPlugins } from '../ipam-plugins.ts';
import { type BridgeConf, decodeBridgeConf } from './conf.ts';
import { gatewaysOf, idOf, podShare, portAttributes } from './plan.ts';

/** Everything ADD promised, compared with what is there; every difference is named. */
export async function check(request: Request, machine: Machine): Promise<void> {
  const conf = decodeBridgeConf(request);
  requireNetns(request);
  if (conf.ipamType) await openIpam(conf.ipamType, request, machine, ipamPlugins).forward();
  const previous = readPrevResult(request.conf, request.cniVersion);
  if (!previous)
    throw new CniError(code.invalidConfig, 'Required prevResult missing', 'CHECK compares with the result of ADD');
  const { kernel } = machine;
  const [host, pod] = await Promise.all([readAll(kernel), readAll(kernel, request.netns)]);
  const problems = [
    ...interfaceProblems(request, conf, previous, host, pod),
    ...differences(pod.state, mergeStates(wantedPod(request, conf, previous))).map(inContainer),
    ...(await masqueradeProblems(request, conf, previous, kernel)),
  ];
  if (problems.length > 0) throw driftError(problems);
}

const inContainer = (p: Problem): Problem => ({ ...p, path: `container: ${p.path}` });

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
  const container = previous.interfaces.find((i) => i.name === request.ifname && i.sandbox);
  const problems: Problem[] = [];
  if (container && container.sandbox !== request.netns) {
    problems.push({ path: 'prevResult sandbox', got: show(container.sandbox), want: show(request.netns) });
  }
  const gateways = conf.vlan === 0 ? gatewaysOf(conf, previous) : [];
  const wanted: LinkState[] = [
    { name: conf.bridge, make: { kind: 'bridge' }, up: true, promisc: conf.promiscMode, ...macOf(bridge) },
    ...(port
      ? [{ name: port.name, make: { kind: 'veth' }, up: true, ...portAttributes(conf), ...macOf(port) } as LinkState]
      : []),
  ];
  const addresses = gateways.map((g) => ({ dev: conf.bridge, address: formatPrefix(g) }));
  const podLink = pod.links.find((l) => l.name === request.ifname);
  const portLink = host.links.find((l) => l.name === port?.name);
  return [
    ...problems,
    ...kindProblems(host.links, wanted),
    ...differences(host.state, mergeStates({ links: wanted, addresses })),
    ...(port
      ? pairProblems(portLink, podLink, port.name, request.ifname)
      : [{ path: 'prevResult interfaces', got: 'no host interface', want: 'the bridge port of ADD' }]),
    ...(container?.mac && podLink
      ? differences(
          pod.state,
          mergeStates({ links: [{ name: request.ifname, make: { kind: 'given' }, address: container.mac }] }),
        ).map(inContainer)
      : []),
  ];
}

const macOf = (i: Interface | undefined) => (i?.mac ? { address: i.mac } : {});

/** Masquerade of a pod that another suite attached is in that suite's tables, not in ours. */
async function masqueradeProblems(
  request: Request,
  conf: BridgeConf,
  previous: Result,
  kernel: Kernel,
): Promise<Problem[]> {
  const id = idOf(request);
  if (!conf.ipMasq || !previous.interfaces.some((i) => i.name === hostVethName(id))) return [];
  const missing = await missingMasquerade(
    kernel,
    previous.ips.map((ip) => ip.address.address),
    attachmentMark(id),
  );
  return missing.map(({ address, comment }) => ({
    path: `masquerade of ${formatAddress(address)}`,
    got: comment === undefined ? 'nothing' : show(comment),
    want: show(attachmentLabel(id)),
  }));
}

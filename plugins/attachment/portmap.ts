/** Host ports of an attachment, whichever plugin was asked for them: begun with ADD, looked after by CHECK. */

import { forgetConnections } from '../../src/apply/conntrack.ts';
import { addPortmap, formatKey, missingPortmap } from '../../src/apply/portmap.ts';
import type { Request } from '../../src/cni/types.ts';
import { isObject, show } from '../../src/decode.ts';
import type { Problem } from '../../src/errors.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import type { StandbyName } from '../../src/kernel/standby.ts';
import { formatAddress } from '../../src/net/address.ts';
import { attachmentLabel, attachmentMark } from '../../src/net/name.ts';
import { isForward, type Portmap } from '../../src/plan/portmap.ts';
import { idOf } from './veth.ts';

/** What taking host ports away starts (`removePortmap`): DEL has it stand by. */
export const portmapPrograms = ['nft -p', 'nft -i', 'conntrack'] as const satisfies readonly StandbyName[];

/** Whether host ports are asked for, in a configuration that need not be right any more. */
export function asksForPorts({ conf }: Request): boolean {
  const runtime = conf['runtimeConfig'];
  const mappings = isObject(runtime) ? runtime['portMappings'] : undefined;
  return Array.isArray(mappings) && mappings.length > 0;
}

const localnetKey = (link: string): string => `net/ipv4/conf/${link}/route_localnet`;

/** Lets connections from 127.0.0.1 cross to the container by these links of the host. */
export function routeLocalnet(kernel: Kernel, links: readonly string[]): void {
  for (const link of links) kernel.writeSysctl({ key: localnetKey(link), value: '1', optional: true });
}

/** Whether a link lets such connections cross; undefined when there is no such link. */
export function routesLocalnet(kernel: Kernel, link: string): boolean | undefined {
  const value = kernel.readSysctl(localnetKey(link));
  return value === undefined ? undefined : value === '1';
}

/** Has the mappings forwarded. Throws StoreError `taken` that names who has a port, with nothing changed. */
export async function beginPortmap(request: Request, machine: Machine, portmap: Portmap): Promise<void> {
  const id = idOf(request);
  await addPortmap(machine.kernel, portmap, attachmentLabel(id), attachmentMark(id));
  // a client that kept asking while nobody answered has a flow without a translation by now
  const udp = portmap.forwards.filter((f) => f.protocol === 'udp');
  await forgetConnections(
    machine,
    udp.map((f) => ({
      family: f.to.family,
      protocol: f.protocol,
      port: f.hostPort,
      to: f.host && formatAddress(f.host),
    })),
  );
}

/** What is missing of them, or leads elsewhere. */
export async function portmapProblems(request: Request, kernel: Kernel, portmap: Portmap): Promise<Problem[]> {
  if (portmap.forwards.length === 0) return [];
  const id = idOf(request);
  const missing = await missingPortmap(kernel, portmap, attachmentMark(id));
  return missing.map(({ want, got }) => ({
    path: isForward(want) ? `mapping of host port ${formatKey(want.key)}` : `masquerade of ${want.key}`,
    got: got ? show(`${got.value}, ${got.comment}`) : 'nothing',
    want: show(`${want.value}, ${attachmentLabel(id)}`),
  }));
}

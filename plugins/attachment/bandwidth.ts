/** Shaping of an attachment, whichever plugin was asked for it. */

import { referenceHash } from '../../src/apply/other-suite.ts';
import type { Request } from '../../src/cni/types.ts';
import { attachmentLabel, hostMac, ifbName } from '../../src/net/name.ts';
import type { ShapedLinks } from '../../src/plan/bandwidth.ts';
import { idOf } from './veth.ts';

/** The links that the attachment is shaped on, with `host` as its pair's end. */
export function shapedLinks(request: Request, host: string, mtu?: number): ShapedLinks {
  const id = idOf(request);
  const ifb = { ingress: ifbName(id, 'ingress'), egress: ifbName(id, 'egress') };
  return { host, ifb, mac: hostMac(id), label: attachmentLabel(id), mtu };
}

/** The ifb that the reference plugin has for a container, whatever its interface. */
export const referenceIfb = ({ name, containerId }: Request): string =>
  `bwp${referenceHash(`${name}${containerId}`)}`.slice(0, 15);

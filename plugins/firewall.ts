/**
 * firewall: lets a container's traffic through the host's forward hook, and with `ingressPolicy` keeps bridges or their ports
 * apart. Chained behind a plugin that made the interface; drop-in for the reference plugin of the same name.
 */

import { addFirewall, missingFirewall, removeFirewall, sweepFirewall } from '../src/apply/firewall.ts';
import { settle } from '../src/apply/settle.ts';
import { readValidAttachments, requirePrevResult } from '../src/cni/conf.ts';
import { code, driftError } from '../src/cni/error.ts';
import type { Plugin } from '../src/cni/skel.ts';
import type { Request, Result } from '../src/cni/types.ts';
import { show } from '../src/decode.ts';
import { CniError } from '../src/errors.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { attachmentLabel, attachmentMark, isInterfaceName, labelKeeper } from '../src/net/name.ts';
import { foreignForwardRemarks } from '../src/nftables/forward-chains.ts';
import { type Firewall, ownPlaces, sharedLabel } from '../src/plan/firewall.ts';
import { idOf } from './attachment/veth.ts';
import { decodeFirewallConf, type FirewallConf } from './firewall/conf.ts';

/** What the attachment needs in the kernel. Throws CniError 7 when a policy has no bridge to hold for. */
function firewallOf({ policy }: FirewallConf, previous: Result): Firewall {
  const addresses = previous.ips.map((ip) => ip.address.address);
  const [first, ...others] = previous.interfaces;
  const bridge = first && !first.sandbox && isInterfaceName(first.name) ? first.name : '';
  if (policy !== 'open' && bridge === '') {
    throw new CniError(
      code.invalidConfig,
      `ingressPolicy: got ${show(policy)}, want "open": the previous result names no bridge first`,
      'chain firewall behind bridge, whose result begins with its bridge',
    );
  }
  const ports = others.filter((i) => !i.sandbox && isInterfaceName(i.name)).map((i) => i.name);
  return { addresses, policy, bridge, ports };
}

async function warnOfOthers({ kernel, warn }: Machine): Promise<void> {
  const json = await kernel.showNft(['-j', 'list', 'chains']);
  for (const remark of json === '' ? [] : foreignForwardRemarks(json)) warn(`firewall: ${remark}`);
}

async function add(request: Request, machine: Machine): Promise<Result> {
  const notes: string[] = [];
  const conf = decodeFirewallConf(request, notes);
  for (const note of notes) machine.warn(`firewall: ${note}`);
  const previous = requirePrevResult(request);
  const label = attachmentLabel(idOf(request));
  await settle([addFirewall(machine.kernel, firewallOf(conf, previous), label), warnOfOthers(machine)]);
  return previous;
}

/** By the mark alone: neither the result nor the keys need be right any more. */
const del = (request: Request, { kernel }: Machine): Promise<void> =>
  removeFirewall(kernel, attachmentMark(idOf(request)));

async function check(request: Request, { kernel }: Machine): Promise<void> {
  const firewall = firewallOf(decodeFirewallConf(request), requirePrevResult(request));
  const id = idOf(request);
  const missing = await missingFirewall(kernel, firewall, attachmentMark(id));
  if (missing.length === 0) return;
  throw driftError(
    missing.map(({ table, set, key, comment }) => ({
      path: `${key} in set ${table} ${set}`,
      got: comment === undefined ? 'nothing' : show(comment),
      want: show(
        ownPlaces(firewall).some((p) => p.table === table && p.set === set && p.key === key)
          ? attachmentLabel(id)
          : sharedLabel,
      ),
    })),
  );
}

/** Removes the addresses of attachments that are not in the list any more. */
async function gc(request: Request, { kernel }: Machine): Promise<void> {
  await sweepFirewall(kernel, labelKeeper(request.name, readValidAttachments(request.conf)));
}

async function status(request: Request): Promise<void> {
  decodeFirewallConf(request);
}

export const firewall: Plugin<Machine> = {
  name: 'firewall',
  about: 'lets the traffic of containers through the host and keeps bridges apart',
  chained: true,
  decode: decodeFirewallConf,
  add,
  del,
  check,
  gc,
  status,
};

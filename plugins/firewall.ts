/**
 * firewall: lets a container's traffic through the host's forward hook, and with `ingressPolicy` keeps bridges or their ports
 * apart. Chained behind a plugin that made the interface; drop-in for the reference plugin of the same name.
 */

import { addFirewall, missingFirewall, removeFirewall, sweepFirewall } from '../src/apply/firewall.ts';
import { settle } from '../src/apply/settle.ts';
import { protocolKeys, readValidAttachments, requirePrevResult } from '../src/cni/conf.ts';
import { code, driftError } from '../src/cni/error.ts';
import type { Plugin } from '../src/cni/skel.ts';
import type { Request, Result } from '../src/cni/types.ts';
import { Fields, show } from '../src/decode.ts';
import { CniError } from '../src/errors.ts';
import type { Machine } from '../src/kernel/machine.ts';
import { type AttachmentId, attachmentLabel, attachmentMark, isInterfaceName, networkMark } from '../src/net/name.ts';
import { foreignForwardRemarks } from '../src/nftables/forward-chains.ts';
import type { Firewall, IngressPolicy } from '../src/plan/firewall.ts';

interface FirewallConf {
  policy: IngressPolicy;
}

const policies: readonly string[] = ['open', 'same-bridge', 'isolated'] satisfies IngressPolicy[];

const idOf = ({ name, containerId, ifname }: Request): AttachmentId => ({ network: name, containerId, ifname });

function decodeBackend(f: Fields, notes: string[]): void {
  const backend = f.string('backend') || 'nftables';
  if (backend === 'iptables' || backend === 'firewalld') notes.push(`backend: "${backend}" is done with nftables`);
  else if (backend !== 'nftables') f.wrong('backend', '"nftables", "iptables" or "firewalld"');
  if (f.string('firewalldZone')) notes.push('firewalldZone: no zone of firewalld is changed');
}

/** The configuration; `notes` takes remarks on keys. Throws ConfigError, and CniError 2 for what nftables cannot do. */
function decodeFirewallConf(request: Request, notes: string[] = []): FirewallConf {
  return Fields.read(
    request.conf,
    '',
    (f) => {
      f.ignore(...protocolKeys, 'ipam', 'dns');
      const chain = f.string('iptablesAdminChainName') ?? '';
      if (chain !== '') {
        throw new CniError(
          code.unsupportedField,
          `unsupported field iptablesAdminChainName: got ${show(chain)}`,
          'forwarding is decided with nftables, which cannot jump to a chain of iptables; remove the key, rules in FORWARD still hold',
        );
      }
      decodeBackend(f, notes);
      const policy = f.string('ingressPolicy') || 'open';
      if (!policies.includes(policy)) f.wrong('ingressPolicy', '"open", "same-bridge" or "isolated"');
      return { policy: policy as IngressPolicy };
    },
    notes,
  );
}

/** What the attachment needs in the kernel. Throws CniError 7 when a policy has no bridge to hold for. */
function firewallOf({ policy }: FirewallConf, previous: Result): Firewall {
  const addresses = previous.ips.map((ip) => ip.address.address);
  const [first] = previous.interfaces;
  const bridge = first && !first.sandbox && isInterfaceName(first.name) ? first.name : '';
  if (policy !== 'open' && bridge === '') {
    throw new CniError(
      code.invalidConfig,
      `ingressPolicy: got ${show(policy)}, want "open": the previous result names no bridge first`,
      'chain firewall behind bridge, whose result begins with its bridge',
    );
  }
  return { addresses, policy, bridge };
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
    missing.map(({ set, key, comment }) => ({
      path: `${key} in set ${set}`,
      got: comment === undefined ? 'nothing' : show(comment),
      want: show(set.startsWith('pods') ? attachmentLabel(id) : firewall.policy),
    })),
  );
}

/** Removes the addresses of attachments that are not in the list any more. */
async function gc(request: Request, { kernel }: Machine): Promise<void> {
  const marks = new Set(readValidAttachments(request.conf).map((v) => attachmentMark({ network: request.name, ...v })));
  const network = `${networkMark(request.name)}:`;
  await sweepFirewall(kernel, (label) => !label.startsWith(network) || marks.has(label.split(' ')[0] ?? ''));
}

async function status(request: Request): Promise<void> {
  decodeFirewallConf(request);
}

export const firewall: Plugin<Machine> = {
  name: 'firewall',
  about: 'lets the traffic of containers through the host and keeps bridges apart',
  chained: true,
  add,
  del,
  check,
  gc,
  status,
};

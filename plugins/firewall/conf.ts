/** The configuration of `firewall`: every key of the reference plugin 1.9.1, checked. */

import { protocolKeys } from '../../src/cni/conf.ts';
import { unsupportedField } from '../../src/cni/error.ts';
import type { Request } from '../../src/cni/types.ts';
import { Fields, show } from '../../src/decode.ts';
import type { IngressPolicy } from '../../src/plan/firewall.ts';

export interface FirewallConf {
  policy: IngressPolicy;
}

const policies: readonly string[] = ['open', 'same-bridge', 'isolated'] satisfies IngressPolicy[];

function decodeBackend(f: Fields, notes: string[]): void {
  const backend = f.string('backend') || 'nftables';
  if (backend === 'iptables' || backend === 'firewalld') notes.push(`backend: "${backend}" is done with nftables`);
  else if (backend !== 'nftables') f.wrong('backend', '"nftables", "iptables" or "firewalld"');
  if (f.string('firewalldZone')) notes.push('firewalldZone: no zone of firewalld is changed');
}

/** The configuration; `notes` takes remarks on keys. Throws ConfigError, and CniError 2 for what nftables cannot do. */
export function decodeFirewallConf(request: Request, notes: string[] = []): FirewallConf {
  return Fields.read(
    request.conf,
    '',
    (f) => {
      f.ignore(...protocolKeys, 'ipam', 'dns');
      const chain = f.string('iptablesAdminChainName') ?? '';
      if (chain !== '') {
        const want =
          'no such key: forwarding is decided with nftables, which cannot jump to a chain of iptables; remove the key, rules in FORWARD still hold';
        throw unsupportedField({ path: 'iptablesAdminChainName', got: show(chain), want });
      }
      decodeBackend(f, notes);
      const policy = f.string('ingressPolicy') || 'open';
      if (!policies.includes(policy)) f.wrong('ingressPolicy', '"open", "same-bridge" or "isolated"');
      return { policy: policy as IngressPolicy };
    },
    notes,
  );
}

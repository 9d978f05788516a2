/**
 * Other people's forward hooks. In nftables an accept ends only its own base chain: whatever drops later, or earlier, in
 * somebody else's table drops pod traffic too, and no rule of ours can prevent it. All we can do is name the chain.
 */

import { isObject } from '../decode.ts';

interface BaseChain {
  family: string;
  table: string;
  name: string;
  hook?: string;
  policy?: string;
}

function chainsOf(json: string): BaseChain[] {
  const list = (JSON.parse(json) as { nftables?: unknown[] }).nftables ?? [];
  return list.flatMap((item) =>
    isObject(item) && isObject(item['chain']) ? [item['chain'] as unknown as BaseChain] : [],
  );
}

function remark({ family, table, name, policy }: BaseChain): string | undefined {
  const chain = `chain ${family} ${table} ${name}`;
  if (policy === 'drop') {
    return `${chain} drops forwarded packets that none of its rules accepts, and pods' may be among them; add accept rules for the podCIDRs there (Docker: in chain DOCKER-USER)`;
  }
  if (table === 'firewalld') {
    return `${chain} of firewalld rejects forwarded packets of zones it does not trust; run firewall-cmd --permanent --zone=trusted --add-source=PODCIDR for each podCIDR`;
  }
  return undefined;
}

/** Remarks on chains that may drop pod traffic, ours aside. Takes what `nft -j list chains` prints. */
export const foreignForwardRemarks = (json: string): string[] =>
  chainsOf(json)
    .filter((c) => c.hook === 'forward' && !c.table.startsWith('culvert_'))
    .flatMap((c) => remark(c) ?? []);

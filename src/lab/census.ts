/** What this machine itself holds: counted before a lab, while it is up and after it, to show that nothing stays. */

import { readdirSync, readFileSync } from 'node:fs';
import type { Machine } from '../kernel/machine.ts';
import { processesOf } from './process.ts';

export interface Census {
  /** Network namespaces with a name, of anybody. */
  namespaces: number;
  /** In the machine's own namespace: */
  links: number;
  routes: number;
  rules: number;
  nftTables: number;
  /** Processes that carry the lab's name. */
  labProcesses: number;
  /** Namespaces whose names begin as the lab's do. */
  labNamespaces: number;
  /** Namespaces kept by mounts. */
  mounts: number;
}

export const censusWords: Record<keyof Census, string> = {
  namespaces: 'network namespaces',
  labNamespaces: "the lab's namespaces",
  labProcesses: "the lab's processes",
  mounts: 'namespace mounts',
  links: "the machine's own links",
  routes: "the machine's own routes",
  rules: "the machine's own rules",
  nftTables: "the machine's own nft tables",
};

const lines = (text: string): number => text.split('\n').filter((l) => l.trim() !== '').length;

function netnsNames(): string[] {
  try {
    return readdirSync('/run/netns');
  } catch {
    return [];
  }
}

export async function takeCensus(lab: string, prefix: string, { exec }: Machine): Promise<Census> {
  const count = async (argv: string[]) => lines(await exec(argv));
  const routes = await Promise.all(
    ['-4', '-6'].map((family) => count(['ip', family, 'route', 'show', 'table', 'all'])),
  );
  const rules = await Promise.all(['-4', '-6'].map((family) => count(['ip', family, 'rule'])));
  const names = netnsNames();
  return {
    namespaces: names.length,
    labNamespaces: names.filter((n) => n.startsWith(prefix)).length,
    labProcesses: processesOf(lab).length,
    mounts: new Set(
      readFileSync('/proc/self/mounts', 'utf8')
        .split('\n')
        .filter((l) => l.startsWith('nsfs ')),
    ).size,
    links: await count(['ip', '-o', 'link']),
    routes: routes[0]! + routes[1]!,
    rules: rules[0]! + rules[1]!,
    nftTables: await count(['nft', 'list', 'tables']),
  };
}

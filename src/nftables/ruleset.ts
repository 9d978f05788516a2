/**
 * Tables as data → nft's language, spelled and ordered as `nft list table` prints it (1.0.6): what is read back can be
 * compared as text, white space aside. Prefixes live in sets; rules never multiply with nodes or pods.
 */

import type { Family } from '../net/address.ts';
import { formatPrefix, type Prefix } from '../net/prefix.ts';

/** A set of prefixes of one family. */
export interface PrefixSet {
  readonly name: string;
  readonly family: Family;
  /** Ascending, none inside of another, no two that make up one. */
  readonly prefixes: readonly Prefix[];
}

export interface Chain {
  readonly name: string;
  /** "type nat hook postrouting priority srcnat; policy accept;" */
  readonly base?: string;
  readonly rules: readonly string[];
}

export interface Table {
  readonly family: 'inet' | 'ip' | 'ip6' | 'bridge';
  readonly name: string;
  readonly sets: readonly PrefixSet[];
  readonly chains: readonly Chain[];
}

/** nft prints a whole address without its length. */
const formatElement = (p: Prefix): string => formatPrefix(p).replace(p.address.family === 4 ? /\/32$/ : /\/128$/, '');

function renderSet(set: PrefixSet): string[] {
  const elements = set.prefixes.map(formatElement);
  return [
    `\tset ${set.name} {`,
    `\t\ttype ipv${set.family}_addr`,
    '\t\tflags interval',
    ...(elements.length > 0 ? [`\t\telements = { ${elements.join(', ')} }`] : []),
    '\t}',
  ];
}

function renderChain(chain: Chain): string[] {
  return [
    `\tchain ${chain.name} {`,
    ...(chain.base ? [`\t\t${chain.base}`] : []),
    ...chain.rules.map((rule) => `\t\t${rule}`),
    '\t}',
  ];
}

/** The text that makes the table, for `nft -f`. */
export function renderTable(table: Table): string {
  const body = [...table.sets.map(renderSet), ...table.chains.map(renderChain)].map((lines) => lines.join('\n'));
  return `table ${table.family} ${table.name} {\n${body.join('\n\n')}\n}\n`;
}

/** The text with every run of white space as one blank: nft wraps long sets. */
export const normalise = (text: string): string => text.replaceAll(/\s+/g, ' ').trim();

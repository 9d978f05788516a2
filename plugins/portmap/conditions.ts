/**
 * `conditionsV4` and `conditionsV6`: what a packet must match besides its port. The reference plugin hands the words to iptables
 * or to nft; here iptables' matches on source, destination and incoming interface become nft's, and nft's stay as they are.
 */

import { unsupportedField } from '../../src/cni/error.ts';
import { type Fields, show } from '../../src/decode.ts';
import type { CniError } from '../../src/errors.ts';
import { type Address, type Family, parseAddress } from '../../src/net/address.ts';
import { isInterfaceName } from '../../src/net/name.ts';
import { formatPrefix, hostPrefix, networkOf, parsePrefix } from '../../src/net/prefix.ts';

const options: Record<string, 'saddr' | 'daddr' | 'iifname'> = {
  '-s': 'saddr',
  '--source': 'saddr',
  '--src': 'saddr',
  '-d': 'daddr',
  '--destination': 'daddr',
  '--dst': 'daddr',
  '-i': 'iifname',
  '--in-interface': 'iifname',
};

export type ConditionsKey = 'conditionsV4' | 'conditionsV6';

function unsupported(key: ConditionsKey, words: readonly string[], word: string): CniError {
  return unsupportedField({
    path: key,
    got: `${show(words)}: ${show(word)} has no translation to nftables`,
    want: '-s PREFIX, -d PREFIX, -i INTERFACE, each with "!" before it or not, or nftables matches such as "ip saddr 10.0.0.0/8"',
  });
}

const prefixOf = (text: string) => {
  const address: Address | undefined = parseAddress(text);
  return address ? hostPrefix(address) : parsePrefix(text);
};

/** One match; undefined when its value is wrong. */
function translate(field: 'saddr' | 'daddr' | 'iifname', not: string, value: string, family: Family) {
  if (field === 'iifname') {
    // iptables' "eth+" is nft's "eth*"
    const name = value.replace(/\+$/, '*');
    return isInterfaceName(name.replace(/\*$/, 'x')) ? `iifname ${not}"${name}"` : undefined;
  }
  const prefix = prefixOf(value);
  if (prefix?.address.family !== family) return undefined;
  return `${family === 4 ? 'ip' : 'ip6'} ${field} ${not}${formatPrefix(networkOf(prefix))}`;
}

function fromIptables(f: Fields, key: ConditionsKey, words: readonly string[], family: Family): string {
  const matches: string[] = [];
  for (let i = 0; i < words.length; i += 2) {
    const not = words[i] === '!' ? '!= ' : '';
    if (not) i++;
    const field = options[words[i] ?? ''];
    if (!field) throw unsupported(key, words, words[i] ?? '!');
    const match = translate(field, not, words[i + 1] ?? '', family);
    if (match) matches.push(match);
    else
      f.wrong(`${key}[${i + 1}]`, field === 'iifname' ? 'an interface name' : `an IPv${family} prefix`, words[i + 1]);
  }
  return matches.join(' ');
}

/** Whether the words are iptables': its first one is an option or a negation, which no match of nft begins with. */
export const isIptables = (words: readonly string[]): boolean => /^[-!]/.test(words[0] ?? '');

/** The conditions as nft matches, empty when there are none. Throws CniError 2 for a match that cannot be translated. */
export function decodeConditions(f: Fields, key: ConditionsKey, family: Family, backend: string | undefined): string {
  const words = (f.strings(key) ?? []).flatMap((text) => text.split(' ')).filter((word) => word !== '');
  if (words.length === 0) return '';
  const own = isIptables(words) ? 'iptables' : 'nftables';
  if (backend && backend !== own) f.wrong(key, `matches of the backend ${show(backend)}, not of ${own}`);
  if (own === 'iptables') return fromIptables(f, key, words, family);
  const text = words.join(' ');
  if (!/^[\w .:/,{}!="*<>&|()-]+$/.test(text)) throw unsupported(key, words, text);
  return text;
}

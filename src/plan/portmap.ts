/**
 * Host ports (`portMappings`), as nft text.
 *
 * Two maps per family hold the mappings, those of one host address and those of any; a mapping is one element:
 *
 *   client → 192.0.2.1:8080/tcp → @at4 192.0.2.1 . 6 . 8080, else @any4 6 . 8080 → dnat to 10.22.0.5:80
 *
 * A third holds the containers whose own network, or the host's 127.0.0.1, reaches them through a host port: such packets must
 * come from the host, or the answer would not pass it on its way back. A container on a link of its own (/32, /128) has no network
 * but itself, and is asked about in a fourth: whatever else reaches it by a host port, or by a Service, is seen as it is. Conditions of a configuration have chains and maps of
 * their own, named by their hash, so that they bind nobody else's mappings. An element carries its attachment's label as
 * comment, and `create` refuses a key that is taken: the first owner keeps its port.
 */

import { type Address, bitsOf, type Family, families, formatAddress } from '../net/address.ts';
import { hash } from '../net/name.ts';
import { formatPrefix, networkOf, type Prefix } from '../net/prefix.ts';

export const portmapTable = 'inet culvert_portmap';

/** The numbers of IANA: nft reads them whatever /etc/protocols says, or when there is none. */
export const protocols = { tcp: 6, udp: 17, sctp: 132 } as const;
export type Protocol = keyof typeof protocols;

/** One mapping to one address of the container. */
export interface Forward {
  readonly protocol: Protocol;
  /** The host's address that is listened at; undefined: any of the family. */
  readonly host: Address | undefined;
  readonly hostPort: number;
  readonly to: Address;
  readonly containerPort: number;
}

/** Everything of one attachment. */
export interface Portmap {
  readonly forwards: readonly Forward[];
  /** What a packet must match besides, as nft matches; empty: nothing. */
  readonly conditions: Readonly<Record<Family, string>>;
  /** The container's addresses with their prefix lengths whose own network needs masquerade; none without `snat`. */
  readonly masquerade: readonly Prefix[];
  /** Masquerade whoever asks (`masqAll`). */
  readonly masqueradeAll: boolean;
}

/** A key in a map, with what it maps to. */
export interface PortmapElement {
  readonly set: string;
  readonly key: string;
  readonly value: string;
}

const protocol = (family: Family): string => (family === 4 ? 'ip' : 'ip6');

const suffix = (family: Family, condition: string): string =>
  condition === '' ? `${family}` : `${family}-${hash(condition, 8)}`;

export const masqueradeMap = (family: Family): string => `masquerade${family}`;

/** The map of containers without a network of theirs: they themselves as source and destination. */
const selfMap = (family: Family): string => `self${family}`;

const isAlone = ({ address, length }: Prefix): boolean => length === bitsOf(address.family);

function sourceChain(prefix: Prefix, all: boolean): string {
  if (all) return `from-any${prefix.address.family}`;
  if (isAlone(prefix)) return `from-self${prefix.address.family}`;
  return `from-${formatPrefix(networkOf(prefix)).replaceAll(/[:/]/g, '-')}`;
}

const forwardElement = (f: Forward, { conditions }: Portmap): PortmapElement => ({
  set: `${f.host ? 'at' : 'any'}${suffix(f.to.family, conditions[f.to.family])}`,
  key: [...(f.host ? [formatAddress(f.host)] : []), protocols[f.protocol], f.hostPort].join(' . '),
  value: `${formatAddress(f.to)} . ${f.containerPort}`,
});

function masqueradeElements(prefix: Prefix, { masqueradeAll }: Portmap): PortmapElement[] {
  const { family } = prefix.address;
  const key = formatAddress(prefix.address);
  const value = `jump ${sourceChain(prefix, masqueradeAll)}`;
  const self = { set: selfMap(family), key: `${key} . ${key}`, value: 'jump masqueraded' };
  return [{ set: masqueradeMap(family), key, value }, ...(isAlone(prefix) && !masqueradeAll ? [self] : [])];
}

/** The attachment's elements: one per mapping and address family, one or two per masqueraded address. */
export const portmapElements = (portmap: Portmap): PortmapElement[] => [
  ...portmap.forwards.map((f) => forwardElement(f, portmap)),
  ...portmap.masquerade.flatMap((p) => masqueradeElements(p, portmap)),
];

/** Whether an element is a mapping, and not an address's masquerade. */
export const isForward = (e: Pick<PortmapElement, 'set'>): boolean => /^(at|any)/.test(e.set);

export const createPortmap = (portmap: Portmap, label: string): string =>
  portmapElements(portmap)
    .map((e) => `create element ${portmapTable} ${e.set} { ${e.key} comment "${label}" : ${e.value} }\n`)
    .join('');

/** Chain and rules, whatever was in it before. */
const chain = (name: string, base: string, rules: readonly string[]): string[] => [
  `add chain ${portmapTable} ${name}${base === '' ? '' : ` { ${base} ; policy accept ; }`}`,
  `flush chain ${portmapTable} ${name}`,
  ...rules.map((rule) => `add rule ${portmapTable} ${name} ${rule}`),
];

/** Maps and chains for the mappings under one condition. The output hook is for the host's own connections. */
function forwardBase(family: Family, condition: string): string[] {
  const name = suffix(family, condition);
  const ip = protocol(family);
  const local = ['meta nfproto', `ipv${family}`, 'fib daddr type local', ...(condition === '' ? [] : [condition])];
  const dnat = `${local.join(' ')} dnat ${ip} addr . port to`;
  const value = `ipv${family}_addr . inet_service`;
  const rules = [
    `${dnat} ${ip} daddr . meta l4proto . th dport map @at${name}`,
    `${dnat} meta l4proto . th dport map @any${name}`,
  ];
  return [
    `add map ${portmapTable} at${name} { type ipv${family}_addr . inet_proto . inet_service : ${value} ; }`,
    `add map ${portmapTable} any${name} { type inet_proto . inet_service : ${value} ; }`,
    ...chain(`prerouting${name}`, 'type nat hook prerouting priority dstnat', rules),
    ...chain(`output${name}`, 'type nat hook output priority -100', rules),
  ];
}

function selfBase(family: Family): string[] {
  const [ip, type] = [protocol(family), `ipv${family}_addr`];
  return [
    `add map ${portmapTable} ${selfMap(family)} { type ${type} . ${type} : verdict ; }`,
    ...chain('masqueraded', '', ['masquerade']),
    ...chain(`from-self${family}`, '', [
      ...(family === 4 ? ['ip saddr 127.0.0.0/8 masquerade'] : []),
      `${ip} saddr . ${ip} daddr vmap @${selfMap(family)}`,
    ]),
  ];
}

function sourceBase(prefix: Prefix, all: boolean): string[] {
  const { family } = prefix.address;
  if (isAlone(prefix) && !all) return selfBase(family);
  const sources = [formatPrefix(networkOf(prefix)), ...(family === 4 ? ['127.0.0.0/8'] : [])];
  const match = all ? '' : `${protocol(family)} saddr { ${sources.join(', ')} } `;
  return chain(sourceChain(prefix, all), '', [`${match}masquerade`]);
}

/**
 * Table, maps and chains that the attachment needs; repeating it changes nothing. What the localhost mappings open with
 * `route_localnet` is closed to everyone but the host: before connection tracking no packet of a wire may be for 127.0.0.0/8.
 */
export function portmapBase({ conditions, masquerade, masqueradeAll }: Portmap): string {
  const lines = [
    `add table ${portmapTable}`,
    ...families.map((f) => `add map ${portmapTable} ${masqueradeMap(f)} { type ipv${f}_addr : verdict ; }`),
    ...chain('guard', 'type filter hook prerouting priority raw', ['iifname != "lo" ip daddr 127.0.0.0/8 drop']),
    ...chain(
      'postrouting',
      'type nat hook postrouting priority srcnat',
      families.map((f) => `ct status dnat ${protocol(f)} daddr vmap @${masqueradeMap(f)}`),
    ),
    ...families.flatMap((f) => forwardBase(f, conditions[f])),
    ...masquerade.flatMap((p) => sourceBase(p, masqueradeAll)),
  ];
  return `${lines.join('\n')}\n`;
}

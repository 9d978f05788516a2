/** The configuration of `portmap`: every key of the reference plugin 1.9.1, checked. */

import { protocolKeys } from '../../src/cni/conf.ts';
import { unsupportedField } from '../../src/cni/error.ts';
import type { Request, Result } from '../../src/cni/types.ts';
import { Fields, show } from '../../src/decode.ts';
import { type Address, type Family, families, formatAddress } from '../../src/net/address.ts';
import type { Prefix } from '../../src/net/prefix.ts';
import { type Forward, type Portmap, type Protocol, protocols } from '../../src/plan/portmap.ts';
import { decodeConditions } from './conditions.ts';

/** One entry of `runtimeConfig.portMappings`. */
export interface Mapping {
  hostPort: number;
  containerPort: number;
  protocol: Protocol;
  /** The unspecified address binds a mapping to its family only. */
  hostIp: Address | undefined;
}

export interface PortmapConf {
  snat: boolean;
  masqAll: boolean;
  conditions: Record<Family, string>;
  mappings: Mapping[];
}

const isProtocol = (text: string): text is Protocol => Object.hasOwn(protocols, text);

function decodeProtocol(f: Fields): Protocol {
  const text = (f.string('protocol') || 'tcp').toLowerCase();
  if (isProtocol(text)) return text;
  f.wrong('protocol', '"tcp", "udp" or "sctp"');
  return 'tcp';
}

function decodePort(f: Fields, key: string): number {
  if (!f.has(key)) f.wrong(key, 'a port from 1 to 65535');
  return f.integer(key, 1, 65_535) ?? 0;
}

/** The host side of a mapping, which no other may have. */
const hostSide = (m: Mapping): string => `${m.hostIp ? formatAddress(m.hostIp) : ''} ${m.hostPort}/${m.protocol}`;

/** `portMappings` of `runtimeConfig`; one that is named twice counts once, unless the two disagree. */
export function decodeMappings(f: Fields): Mapping[] {
  const seen = new Map<string, Mapping>();
  f.objects('portMappings', (item) => {
    item.ignoreRest(); // runtimes add keys of their own
    const mapping: Mapping = {
      hostPort: decodePort(item, 'hostPort'),
      containerPort: decodePort(item, 'containerPort'),
      protocol: decodeProtocol(item),
      hostIp: item.address('hostIP'),
    };
    const other = seen.get(hostSide(mapping));
    if (other && other.containerPort !== mapping.containerPort) {
      item.wrong('containerPort', `${other.containerPort}, as an earlier mapping of the same host port has it`);
    }
    seen.set(hostSide(mapping), mapping);
  });
  return [...seen.values()];
}

function decodeBackend(f: Fields, notes: string[]): string | undefined {
  const backend = f.string('backend') || undefined;
  if (backend === 'iptables') notes.push('backend: "iptables" is done with nftables');
  else if (backend !== undefined && backend !== 'nftables') f.wrong('backend', '"nftables" or "iptables"');
  return backend;
}

/** The configuration; `notes` takes remarks on keys. Throws ConfigError with every wrong field, CniError 2 for what nftables cannot do. */
export function decodePortmapConf(request: Request, notes: string[] = []): PortmapConf {
  return Fields.read(
    request.conf,
    '',
    (f) => {
      f.ignore(...protocolKeys, 'ipam', 'dns');
      const chain = f.string('externalSetMarkChain');
      if (chain !== undefined) {
        const want =
          'no such key: mappings are made with nftables, which cannot jump to a chain of iptables; remove the key, masquerade needs no mark here';
        throw unsupportedField({ path: 'externalSetMarkChain', got: show(chain), want });
      }
      f.integer('markMasqBit', 0, 31); // nothing is marked: masquerade is decided by addresses
      const backend = decodeBackend(f, notes);
      return {
        snat: f.boolean('snat') ?? true,
        masqAll: f.boolean('masqAll') ?? false,
        conditions: {
          4: decodeConditions(f, 'conditionsV4', 4, backend),
          6: decodeConditions(f, 'conditionsV6', 6, backend),
        },
        mappings:
          f.object('runtimeConfig', (runtime) => {
            runtime.ignoreRest();
            return decodeMappings(runtime);
          }) ?? [],
      };
    },
    notes,
  );
}

/** The container's addresses, the first of each family: those of its interface, or of no interface that is named. */
function containerAddresses({ ips, interfaces }: Result, ifname: string): Prefix[] {
  const inside = ips.filter((ip) => {
    const link = ip.interface === undefined ? undefined : interfaces[ip.interface];
    return !link || (link.name === ifname && link.sandbox);
  });
  return families.flatMap((family) => inside.find((ip) => ip.address.address.family === family)?.address ?? []);
}

const forwardTo = (m: Mapping, { address }: Prefix): Forward[] =>
  m.hostIp && m.hostIp.family !== address.family
    ? []
    : [
        {
          protocol: m.protocol,
          host: m.hostIp?.value === 0n ? undefined : m.hostIp,
          hostPort: m.hostPort,
          to: address,
          containerPort: m.containerPort,
        },
      ];

/** Mappings as a runtime means them that says nothing else. */
export const plainPortmap = (mappings: Mapping[]): PortmapConf => ({
  snat: true,
  masqAll: false,
  conditions: { 4: '', 6: '' },
  mappings,
});

/** What the attachment needs in the kernel. A mapping of a family that the container has no address of needs nothing. */
export function portmapOf(conf: PortmapConf, previous: Result, ifname: string): Portmap {
  const addresses = containerAddresses(previous, ifname);
  const forwards = conf.mappings.flatMap((m) => addresses.flatMap((a) => forwardTo(m, a)));
  const reached = addresses.filter((a) => forwards.some((f) => f.to.family === a.address.family));
  return {
    forwards,
    conditions: conf.conditions,
    masquerade: conf.snat ? reached : [],
    masqueradeAll: conf.masqAll,
  };
}

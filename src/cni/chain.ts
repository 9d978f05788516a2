/** What is wrong between the plugins of a network, where each for itself may be right. */

import { nearest } from '../decode/nearest.ts';
import { at } from '../decode.ts';
import type { Problem } from '../errors.ts';
import type { ListedPlugin, Network } from './conflist.ts';
import { capabilitiesOf, keysOf } from './keys.ts';
import type { Plugin } from './skel.ts';

/** The plugins that are known, by type, and which of them give addresses and no interface. */
export interface Suite {
  readonly plugins: ReadonlyMap<string, Pick<Plugin<never>, 'name' | 'chained' | 'decode'>>;
  readonly ipam: readonly string[];
}

const ipamTypeOf = ({ conf }: ListedPlugin): unknown => (conf['ipam'] as { type?: unknown } | null | undefined)?.type;

/** The capabilities that a plugin and its IPAM take; undefined where one of the two is not known. */
function takenBy(listed: ListedPlugin, { plugins }: Suite): string[] | undefined {
  const own = plugins.get(listed.type);
  const ipamType = ipamTypeOf(listed);
  const ipam = ipamType === undefined ? own : plugins.get(String(ipamType));
  return own && ipam && [...capabilitiesOf(own), ...capabilitiesOf(ipam)];
}

/** Capabilities that nobody takes where they are declared: the runtime would hand the values to a plugin that ignores them. */
function idleCapabilities({ plugins: list }: Network, suite: Suite): Problem[] {
  return list.flatMap((listed) => {
    const taken = takenBy(listed, suite);
    return listed.capabilities
      .filter((name) => taken && !taken.includes(name))
      .map((name) => {
        const path = at(at(listed.path, 'capabilities'), name);
        return {
          path,
          got: `a capability that "${listed.type}" does not take`,
          want: takers(name, taken ?? [], suite),
        };
      });
  });
}

function takers(name: string, taken: readonly string[], { plugins }: Suite): string {
  const others = [...plugins.values()].filter((p) => capabilitiesOf(p).includes(name)).map((p) => `"${p.name}"`);
  if (others.length > 0) return `it at a plugin that does: ${others.join(', ')}`;
  const meant = nearest(name, taken);
  if (meant !== undefined) return `"${meant}"`;
  return taken.length > 0 ? `one of ${taken.map((t) => `"${t}"`).join(', ')}` : 'no capabilities';
}

/** Chained plugins with none before them that could have made the interface. Who is not known is taken to be able to. */
function withoutInterface({ plugins: list }: Network, { plugins, ipam }: Suite): Problem[] {
  const gives = ({ type }: ListedPlugin): boolean => !ipam.includes(type) && !plugins.get(type)?.chained;
  return list.flatMap((listed, i) => {
    if (!plugins.get(listed.type)?.chained || list.slice(0, i).some(gives)) return [];
    const want = 'a plugin before it that makes the interface, such as "bridge"';
    return [{ path: at(listed.path, 'type'), got: `"${listed.type}"`, want }];
  });
}

/** Addresses asked of a plugin that gives none. */
function noIpam({ plugins: list }: Network, { plugins, ipam }: Suite): Problem[] {
  return list.flatMap((listed) => {
    const type = String(ipamTypeOf(listed) ?? '');
    const plugin = plugins.get(listed.type);
    if (!plugins.has(type) || ipam.includes(type) || !plugin) return [];
    if (!keysOf(plugin).some((key) => key.path === 'ipam.type')) return [];
    const want = `an IPAM plugin such as ${ipam.map((name) => `"${name}"`).join(' or ')}`;
    return [{ path: at(listed.path, 'ipam.type'), got: `"${type}"`, want }];
  });
}

/** The mistakes of a chain. */
export const checkChain = (network: Network, suite: Suite): Problem[] => [
  ...noIpam(network, suite),
  ...withoutInterface(network, suite),
  ...idleCapabilities(network, suite),
];

/** Plugins that do nothing but what a capability asks for, and its name. */
const idleWithout: ReadonlyMap<string, string> = new Map([['portmap', 'portMappings']]);

/** What is allowed and hardly meant, as notes. */
export const chainNotes = ({ plugins }: Network): string[] =>
  plugins.flatMap(({ type, path, capabilities }) => {
    const capability = idleWithout.get(type);
    if (capability === undefined || capabilities.includes(capability)) return [];
    return [`${at(path, 'type')}: "${type}" does nothing without "capabilities": {"${capability}": true}`];
  });

/**
 * The device of `host-device` on the host, and its label. While a container has it, its ifalias holds the name that it had, then
 * the alias that it had: whoever finds it knows its home, wherever a plugin was killed or a namespace ended.
 */

import { type FoundLink, linksOf } from '../../src/apply/read.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import { auxiliaryNetDevices, netDevices, pciNetDevices } from '../../src/kernel/sysfs.ts';
import { isInterfaceName } from '../../src/net/name.ts';
import type { MovedLink } from '../../src/plan/diff.ts';
import type { Selector } from './conf.ts';

export interface Home {
  name: string;
  alias: string;
}

/** The group of links that containers have: with it a label is ours, and no alias that people gave the device. */
const lentGroup = 67;

/** What the device is labelled with on its way out. One that people put into a group stays in theirs. */
export const lent = (home: Home, group: string | undefined) => ({
  alias: labelOf(home),
  ...(group === 'default' ? { group: lentGroup } : {}),
});

/** And what it becomes on its way home. */
export const returned = (home: Home, group: string | undefined): MovedLink => ({
  ...home,
  ...(group === String(lentGroup) ? { group: 0 } : {}),
});

const labelOf = ({ name, alias }: Home): string => (alias === '' ? name : `${name} ${alias}`).slice(0, 255);

/** Where a device belongs; undefined for one that was never lent. */
export function homeOf({ alias = '' }: Pick<FoundLink, 'alias'>): Home | undefined {
  const [name = '', ...rest] = alias.split(' ');
  return isInterfaceName(name) ? { name, alias: rest.join(' ') } : undefined;
}

function namesOnBus(selector: Selector): string[] {
  switch (selector.by) {
    case 'kernelpath':
      return netDevices(selector.folder);
    case 'pciBusID':
      return pciNetDevices(selector.address);
    case 'auxiliary':
      return auxiliaryNetDevices(selector.name);
    default:
      return [];
  }
}

/** Whether a link of the host is the one, under the name given: its own, or the one that it had. */
function isSelected(selector: Selector, link: FoundLink, name: string, onBus: readonly string[]): boolean {
  if (selector.by === 'device') return name === selector.name;
  if (selector.by === 'hwaddr') return link.address === selector.mac;
  return link.name === onBus[0];
}

export async function hostLinks(kernel: Kernel): Promise<FoundLink[]> {
  const [shown = []] = await kernel.show(['link show']);
  return linksOf(shown);
}

export function findDevice(selector: Selector, links: readonly FoundLink[]): FoundLink | undefined {
  const onBus = namesOnBus(selector);
  return links.find((l) => isSelected(selector, l, l.name, onBus));
}

/**
 * The device where it is on the host by itself, its container's namespace having ended: still labelled. Only hardware comes back.
 * A label without the group is the reference plugin's, or an alias that people gave it: then the name has to be the one asked for.
 */
export function findReturned(
  selector: Selector,
  links: readonly FoundLink[],
): { link: FoundLink; home: Home } | undefined {
  const onBus = namesOnBus(selector);
  for (const link of links.filter((l) => l.kindName === '')) {
    const home = homeOf(link);
    if (!home || !isSelected(selector, link, home.name, onBus)) continue;
    if (link.group !== String(lentGroup) && selector.by !== 'device') continue;
    if (home.name === link.name || !links.some((l) => l.name === home.name)) return { link, home };
  }
  return undefined;
}

/** CHECK: what an attachment should have × what the kernel holds → every difference, as want and got. */

import { CommandError, type Problem } from '../errors.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { type Change, diff } from '../plan/diff.ts';
import { emptyState, type LinkState, type NamespaceState } from '../plan/host.ts';
import { render } from '../plan/render.ts';
import { addressesOf, type FoundLink, linksOf, neighboursOf, routesOf } from './read.ts';

export interface Found {
  links: FoundLink[];
  state: NamespaceState;
}

/** All links, addresses, routes and permanent neighbours of a namespace. */
export async function readAll(kernel: Kernel, netns?: string): Promise<Found> {
  const shows = ['addr show', 'route show table all', 'neigh show nud permanent'];
  const [links = [], routes = [], neighbours = []] = await kernel.show(shows, netns);
  const found = linksOf(links);
  return {
    links: found,
    state: {
      ...emptyState(),
      links: found,
      addresses: addressesOf(links),
      routes: routesOf(routes),
      neighbours: neighboursOf(neighbours),
    },
  };
}

const show = (value: unknown): string => (value === undefined ? 'nothing' : JSON.stringify(value));

function problemsOf(change: Change): Problem[] {
  switch (change.op) {
    case 'add-link':
      return [{ path: `link ${change.link.name}`, got: 'nothing', want: `a ${change.link.make.kind} link` }];
    case 'set-link':
      return Object.entries(change.set).map(([key, want]) => ({
        path: `link ${change.name} ${key}`,
        got: show((change.was as Record<string, unknown> | undefined)?.[key]),
        want: show(want),
      }));
    case 'add-address':
      return [{ path: `address on ${change.address.dev}`, got: 'nothing', want: change.address.address }];
    case 'replace-route':
      return [{ path: `route ${change.route.prefix}`, got: show(change.was), want: textOf(change) }];
    case 'set-sysctl':
      return [{ path: change.sysctl.key, got: show(change.was), want: change.sysctl.value }];
    case 'replace-neighbour':
      return [
        { path: `neighbour ${change.neighbour.address}`, got: show(change.was?.mac), want: change.neighbour.mac },
      ];
    case 'add-vlan':
      return [{ path: `vlan ${change.vlan.vid} on ${change.vlan.dev}`, got: 'nothing', want: textOf(change) }];
    default:
      return []; // what is there beyond the attachment is none of its business
  }
}

const textOf = (change: Change): string =>
  render(change)
    .map((line) => line.text)
    .join('; ')
    .replace(/^\w+ \w+ /, '');

/** What is missing or different; what is there besides is no difference. */
export const differences = (actual: NamespaceState, wanted: NamespaceState): Problem[] =>
  diff(actual, wanted).flatMap(problemsOf);

/** The two ends of a veth pair know each other by index. */
export function pairProblems(
  host: FoundLink | undefined,
  pod: FoundLink | undefined,
  hostName: string,
  podName: string,
): Problem[] {
  if (!host) return [{ path: `link ${hostName}`, got: 'nothing', want: 'a veth link' }];
  if (!pod) return [{ path: `link ${podName} in the container`, got: 'nothing', want: 'a veth link' }];
  const problems: Problem[] = [];
  for (const link of [host, pod]) {
    if (link.kindName !== 'veth')
      problems.push({ path: `link ${link.name} kind`, got: show(link.kindName), want: '"veth"' });
  }
  if (problems.length === 0 && (host.peerIndex !== pod.index || pod.peerIndex !== host.index)) {
    problems.push({
      path: `link ${podName} peer`,
      got: `link ${pod.peerIndex}`,
      want: `link ${host.index} (${hostName})`,
    });
  }
  return problems;
}

/** What a kind of link is made with and CHECK compares. */
const kindFields = ['mode', 'id', 'table', 'bcqueuelen'];

/** A bridge must be one: a link of another kind under its name is a difference that the diff of attributes does not see. */
export function kindProblems(found: readonly FoundLink[], wanted: readonly LinkState[]): Problem[] {
  return wanted.flatMap((w) => {
    const link = found.find((l) => l.name === w.name);
    if (!link || w.make.kind === 'given') return [];
    if (link.kindName !== w.make.kind) {
      return [{ path: `link ${w.name} kind`, got: show(link.kindName), want: show(w.make.kind) }];
    }
    const made = link.make as unknown as Record<string, unknown>;
    return Object.entries(w.make)
      .filter(([key, want]) => kindFields.includes(key) && made[key] !== want)
      .map(([key, want]) => ({ path: `link ${w.name} ${key}`, got: show(made[key]), want: show(want) }));
  });
}

/** One link with its addresses, or undefined when there is none of that name. */
export async function readLink(kernel: Kernel, name: string, netns?: string): Promise<Found | undefined> {
  try {
    const [shown = []] = await kernel.show([`addr show dev ${name}`], netns);
    const links = linksOf(shown);
    return { links, state: { ...emptyState(), links, addresses: addressesOf(shown) } };
  } catch (error) {
    if (error instanceof CommandError && error.reason === 'not-found') return undefined;
    throw error;
  }
}

/** Wiring → namespaces: made, wired and configured inside themselves, so that the machine's own namespace never gets a link. */

import { existsSync, readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { apply } from '../apply/apply.ts';
import { addressesOf, type FoundLink, linksOf, routesOf } from '../apply/read.ts';
import type { Machine } from '../kernel/machine.ts';
import { netnsState } from '../kernel/netns.ts';
import { diff } from '../plan/diff.ts';
import { emptyState, type NamespaceState } from '../plan/host.ts';
import type { Place } from './place.ts';
import { type End, labRouteProtocol, type Wire, type Wiring } from './wiring.ts';

/** The lab's namespaces that exist, by the name of the machine, segment or pod. */
export function listNamespaces(place: Place): string[] {
  const dir = dirname(place.netns('any'));
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter((name) => name.startsWith(place.prefix))
    .map((name) => name.slice(place.prefix.length));
}

export async function removeNamespace(place: Place, host: string, { exec }: Machine): Promise<void> {
  if (netnsState(place.netns(host)) !== 'absent') await exec(['ip', 'netns', 'del', place.namespace(host)]);
}

/** Makes a namespace that is not there. A name without a namespace behind it, left by a crash, is cleared away first. */
export async function ensureNamespace(place: Place, host: string, machine: Machine): Promise<void> {
  const state = netnsState(place.netns(host));
  if (state === 'namespace') return;
  if (state === 'other') await removeNamespace(place, host, machine);
  await machine.exec(['ip', 'netns', 'add', place.namespace(host)]);
}

/** The interfaces that the lab makes: ethN in machines, everything in a segment's namespace. */
const isWireEnd = (link: FoundLink, isSegment: boolean): boolean =>
  link.kindName === 'veth' && (isSegment || /^eth[0-9]+$/.test(link.name));

type FoundEnds = Map<string, FoundLink>;
const endKey = (host: string, ifname: string): string => `${host} ${ifname}`;

async function findEnds(place: Place, wiring: Wiring, { kernel }: Machine): Promise<FoundEnds> {
  const segments = new Set(
    wiring.hosts.filter((h) => wiring.states.get(h)!.links.some((l) => l.make.kind === 'bridge')),
  );
  const found = await Promise.all(
    wiring.hosts.map(async (host) => {
      const [shown = []] = await kernel.show(['link show'], place.netns(host));
      return linksOf(shown)
        .filter((link) => isWireEnd(link, segments.has(host)))
        .map((link): [string, FoundLink] => [endKey(host, link.name), link]);
    }),
  );
  return new Map(found.flat());
}

/** Both ends are there, each the other's peer, and as long and as wide as they should be. */
function isWired(wire: Wire, found: FoundEnds): boolean {
  const [a, b] = wire.ends.map((end) => found.get(endKey(end.host, end.ifname)));
  return (
    a !== undefined &&
    b !== undefined &&
    a.peerIndex === b.index &&
    b.peerIndex === a.index &&
    [a, b].every((link, i) => link.mtu === wire.mtuBytes && link.address === wire.ends[i]!.mac)
  );
}

const endWords = (end: End, wire: Wire): string => `${end.ifname} address ${end.mac} mtu ${wire.mtuBytes}`;

/** Wires what is not wired and pulls out what nobody planned. */
async function ensureWires(place: Place, wiring: Wiring, machine: Machine): Promise<void> {
  const found = await findEnds(place, wiring, machine);
  const missing = wiring.wires.filter((w) => !isWired(w, found));
  const kept = new Set(
    wiring.wires.filter((w) => !missing.includes(w)).flatMap((w) => w.ends.map((e) => endKey(e.host, e.ifname))),
  );
  for (const [key] of found) {
    const [host, ifname] = key.split(' ') as [string, string];
    // its peer goes with it: deleting that one again finds nothing, which is what we want
    if (!kept.has(key)) await deleteLink(place, host, ifname, machine);
  }
  for (const wire of missing) {
    const [a, b] = wire.ends;
    const peer = `peer name ${endWords(b, wire)} netns ${place.namespace(b.host)}`;
    await machine.kernel.ip([`link add ${endWords(a, wire)} type veth ${peer}`], place.netns(a.host));
  }
}

async function deleteLink(place: Place, host: string, ifname: string, { kernel }: Machine): Promise<void> {
  const [shown = []] = await kernel.show(['link show'], place.netns(host));
  if (linksOf(shown).some((l) => l.name === ifname)) await kernel.ip([`link delete dev ${ifname}`], place.netns(host));
}

/** What of a namespace is the lab's: planned links, their global addresses, routes with the lab's mark. */
async function readOwn(netns: string, wanted: NamespaceState, { kernel, exec }: Machine): Promise<NamespaceState> {
  const planned = new Set(wanted.links.map((l) => l.name));
  const ports = new Set([...planned].filter((name) => name !== 'lo'));
  const [shown = []] = await kernel.show(['addr show'], netns);
  const routes = await Promise.all(
    ['-4', '-6'].map((family) =>
      exec(['ip', family, '-d', '-j', 'route', 'show', 'proto', labRouteProtocol], { netns }),
    ),
  );
  return {
    ...emptyState(),
    links: linksOf(shown).filter((l) => planned.has(l.name)),
    addresses: addressesOf(shown).filter((a) => ports.has(a.dev) && a.scope === 'global'),
    routes: routes.flatMap((text) => routesOf(text.trim() === '' ? [] : (JSON.parse(text) as unknown[]))),
  };
}

/** Brings every namespace of the wiring to its state; a second time nothing is changed but sysctls written again. */
export async function ensureWiring(place: Place, wiring: Wiring, machine: Machine): Promise<void> {
  for (const host of wiring.hosts) await ensureNamespace(place, host, machine);
  // sysctls first: an interface takes its defaults when it appears
  const each = <T>(work: (host: string, state: NamespaceState) => Promise<T>) =>
    Promise.all([...wiring.states].map(([host, state]) => work(host, state)));
  await each((host, state) => machine.kernel.ip([], place.netns(host), state.sysctls));
  await ensureWires(place, wiring, machine);
  await each(async (host, { sysctls: _, ...rest }) => {
    const wanted = { ...rest, sysctls: [] };
    const changes = diff(await readOwn(place.netns(host), wanted, machine), wanted);
    await apply(changes, machine.kernel, place.netns(host));
  });
}

/** Traffic held to a rate in the kernel: the objects of `plan/bandwidth.ts` put there, taken away, compared and swept. */

import { isObject, type JsonObject } from '../decode.ts';
import type { Problem } from '../errors.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { AttachmentId } from '../net/name.ts';
import { directions, type Filter, renderTc, type ShapedLinks, type TcObject } from '../plan/bandwidth.ts';
import { failedWith } from './nft.ts';
import { settle } from './settle.ts';
import { staleLinks } from './veth.ts';

/** Makes the objects, in one process. The links they are on must be there. */
export const addShaping = (kernel: Kernel, objects: readonly TcObject[]): Promise<void> =>
  kernel.tc(objects.map(renderTc));

/** Deletes qdiscs, of which some may be gone already, in one process. */
async function deleteQdiscs(kernel: Kernel, lines: readonly string[]): Promise<void> {
  await kernel.tc(lines, 'all').catch((error: unknown) => {
    if (!failedWith(error, 'not-found')) throw error;
  });
}

/** The attachment's ifbs that are there. */
export const ifbsOf = (kernel: Kernel, { ifb }: Pick<ShapedLinks, 'ifb'>): string[] =>
  directions.map((d) => ifb[d]).filter((name) => kernel.hasLink(name));

/**
 * Removes the ifbs, `others` that another suite made with them, and what is on the host's end: no file tells what is there, so it
 * is tried when there are ifbs or when something was asked for. Starts no program otherwise.
 */
export async function removeShaping(
  kernel: Kernel,
  links: Pick<ShapedLinks, 'host' | 'ifb'>,
  wasAsked: boolean,
  others: readonly string[] = [],
): Promise<void> {
  const ifbs = [...ifbsOf(kernel, links), ...others];
  const isTried = (wasAsked || ifbs.length > 0) && kernel.hasLink(links.host);
  // by its place and not by its kind: the reference plugin's is an ingress
  const lines = ['root', 'parent ffff:fff1'].map((place) => `qdisc delete dev ${links.host} ${place}`);
  await settle([isTried ? deleteQdiscs(kernel, lines) : undefined, kernel.deleteLinks(ifbs)]);
}

type FoundFilter = Omit<Filter, 'hook'>;
type Found = Exclude<TcObject, Filter> | FoundFilter;

const number = (value: unknown): number => (typeof value === 'number' ? value : 0);

function qdiscOf({ kind, dev, root, options }: JsonObject): Exclude<TcObject, Filter>[] {
  if (typeof dev !== 'string') return [];
  if (kind === 'clsact') return [{ kind, dev }];
  if (kind !== 'tbf' || root !== true || !isObject(options)) return [];
  const { rate, burst, limit } = options;
  return [{ kind, dev, rate: number(rate), burst: number(burst), limit: number(limit) }];
}

/** What `tc -raw -json qdisc show` prints, as far as it can be ours. */
export const qdiscsOf = (json: string): Exclude<TcObject, Filter>[] =>
  (JSON.parse(json || '[]') as unknown[]).filter(isObject).flatMap(qdiscOf);

/**
 * The u32 filters that `tc filter show` prints. (Its JSON names the matches of one filter by one key.) Asked for one hook of
 * clsact it prints u32's of both, so which one a filter is at is not known.
 */
export const filtersOf = (shown: string, dev: string): FoundFilter[] =>
  shown.split(/^filter /m).flatMap((block): FoundFilter[] => {
    const match = [...block.matchAll(/^\s+match (\S+ at \d+)/gm)].map(([, key = '']) => key);
    const protocol = /\bprotocol (ip|ipv6|all) /.exec(block)?.[1] as Filter['protocol'] | undefined;
    const redirect = /Egress Redirect to device (\S+?)\)/.exec(block)?.[1];
    if (!protocol || match.length === 0) return [];
    return [{ kind: 'filter', dev, protocol, match, ...(redirect ? { redirect } : {}) }];
  });

async function readShaping(kernel: Kernel, host: string): Promise<Found[]> {
  const qdiscs = qdiscsOf(await kernel.showTc(['-raw', '-json', 'qdisc', 'show']));
  if (!qdiscs.some((q) => q.kind === 'clsact' && q.dev === host)) return qdiscs;
  const filters = await Promise.all(
    directions.map(async (hook) => filtersOf(await kernel.showTc(['filter', 'show', 'dev', host, hook]), host)),
  );
  return [...qdiscs, ...filters.flat()];
}

const isSamePlace = (a: Found, b: Found): boolean => {
  if (a.kind !== b.kind || a.dev !== b.dev) return false;
  if (a.kind !== 'filter' || b.kind !== 'filter') return true;
  return a.protocol === b.protocol && a.match.join() === b.match.join();
};

/** What stands in an object's place; of several filters the one with its verdict. */
function standing(found: readonly Found[], want: TcObject): Found | undefined {
  const there = found.filter((f) => isSamePlace(f, want));
  const same = there.find((f) => f.kind === 'filter' && want.kind === 'filter' && f.redirect === want.redirect);
  return same ?? there[0];
}

/** Rates and sizes are rounded to the kernel's clock on their way there and back. */
const isNear = (a: number, b: number): boolean => Math.abs(a - b) <= Math.max(a, b) / 100;

function problemsOf(want: TcObject, got: Found | undefined): Problem[] {
  const nothing = (path: string, wanted: string): Problem[] => (got ? [] : [{ path, got: 'nothing', want: wanted }]);
  switch (want.kind) {
    case 'tbf': {
      if (got?.kind !== 'tbf') return nothing(`tbf on ${want.dev}`, `rate ${want.rate * 8} bit/s`);
      return (['rate', 'burst', 'limit'] as const)
        .filter((key) => !isNear(want[key], got[key]))
        .map((key) => ({ path: `tbf on ${want.dev} ${key} in bytes`, got: String(got[key]), want: String(want[key]) }));
    }
    case 'clsact':
      return nothing(`clsact on ${want.dev}`, 'the filters of egress or of subnets');
    case 'filter': {
      const path = `filter on ${want.dev} ${want.hook} for ${want.protocol} ${want.match.join(', ')}`;
      const verdict = (f: FoundFilter): string => (f.redirect ? `redirect to ${f.redirect}` : 'pass');
      if (got?.kind !== 'filter') return nothing(path, verdict(want));
      return got.redirect === want.redirect ? [] : [{ path, got: verdict(got), want: verdict(want) }];
    }
    default:
      return want satisfies never;
  }
}

/** What of the objects is missing or different; what is there besides is no difference. */
export async function shapingProblems(kernel: Kernel, host: string, objects: readonly TcObject[]): Promise<Problem[]> {
  if (objects.length === 0) return [];
  const found = await readShaping(kernel, host);
  return objects.flatMap((want) => problemsOf(want, standing(found, want)));
}

/**
 * GC: removes the ifbs of a network's attachments that do not count, and what shapes on host ends that are left of them (those
 * of our own making, which carry the network's mark).
 */
export async function sweepShaping(kernel: Kernel, network: string, valid: readonly AttachmentId[]): Promise<void> {
  const [veths = [], ifbs = []] = await staleLinks(kernel, network, valid, ['veth', 'ifb']);
  const qdiscs = veths.length > 0 ? qdiscsOf(await kernel.showTc(['-raw', '-json', 'qdisc', 'show'])) : [];
  const lines = qdiscs
    .filter((q) => veths.includes(q.dev))
    .map((q) => `qdisc delete dev ${q.dev} ${q.kind === 'tbf' ? 'root' : q.kind}`);
  await settle([deleteQdiscs(kernel, lines), kernel.deleteLinks(ifbs)]);
}

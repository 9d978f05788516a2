/** What is wrong between the networks that one runtime reads: a name twice, addresses of one in the subnet of another. */

import { dirname } from 'node:path';
import { decodeHostLocalConf } from '../../../plugins/host-local.ts';
import { requestOf } from '../../cni/keys.ts';
import { at, isObject, show } from '../../decode.ts';
import { formatPrefix, overlaps, type Prefix } from '../../net/prefix.ts';
import type { ReadDocument } from './document.ts';
import type { Finding } from './finding.ts';

/** A subnet that a network leases from. */
interface Leased {
  document: ReadDocument;
  path: string;
  subnet: Prefix;
}

/** The subnets of a document's host-local sections; none where they cannot be read, which has been told by then. */
function leasedBy(document: ReadDocument): Leased[] {
  return (document.network?.plugins ?? []).flatMap(({ path, conf }) => {
    if (!isObject(conf['ipam']) || conf['ipam']['type'] !== 'host-local') return [];
    try {
      const { sets, places } = decodeHostLocalConf(requestOf(conf, 'STATUS'));
      return sets.flat().map((range) => {
        const place = at(places.get(range) ?? 'ipam', 'subnet');
        return { document, path: at(path, place), subnet: range.subnet };
      });
    } catch {
      return [];
    }
  });
}

function problem({ file, located }: ReadDocument, path: string, got: string, want: string): Finding {
  const place = located?.placeOf(path) ?? { line: 1, column: 1 };
  return { file, ...place, path, severity: 'problem', got, want, message: `got ${got}, want ${want}` };
}

function sameName(documents: readonly ReadDocument[]): Finding[] {
  const first = new Map<string, string>();
  return documents.flatMap((document) => {
    const name = document.network?.name ?? '';
    const other = first.get(name);
    if (name === '') return [];
    if (other !== undefined) return [problem(document, 'name', show(name), `another name: ${other} has this one`)];
    first.set(name, document.file);
    return [];
  });
}

function overlappingSubnets(documents: readonly ReadDocument[]): Finding[] {
  const leased = documents.flatMap(leasedBy);
  return leased.flatMap(({ document, path, subnet }, i) => {
    const name = document.network?.name;
    const other = leased.slice(0, i).find((l) => l.document.network?.name !== name && overlaps(l.subnet, subnet));
    if (!other) return [];
    const want = `no address of ${formatPrefix(other.subnet)}, from which network "${other.document.network?.name}" of ${other.document.file} leases`;
    return [problem(document, path, show(formatPrefix(subnet)), want)];
  });
}

/** Looks at the documents of each folder together. */
export function betweenDocuments(documents: readonly ReadDocument[]): Finding[] {
  const folders = Map.groupBy(
    documents.filter((d) => d.network),
    (d) => dirname(d.file),
  );
  return [...folders.values()].flatMap((list) => [...sameName(list), ...overlappingSubnets(list)]);
}

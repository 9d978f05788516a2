/**
 * What the nodes of a cluster have taken: names, MAC addresses, keys, and addresses of nodes and of pods. Of thousands of nodes one or
 * two change at a time, and are held against what all others have taken; clashes.ts tells who clashes with whom.
 */

import { changedItems } from '../changed.ts';
import type { Family } from '../net/address.ts';
import { byFirst, type Span, shareAddresses } from '../net/prefix.ts';
import { firstWhere } from '../net/search.ts';
import type { ClusterNode } from '../plan/cluster.ts';

/** A name holds no colon, as a MAC address does, and is no key, which ends in "=". */
const textsOf = ({ name, mac, publicKey }: ClusterNode): string[] => [name, mac, ...(publicKey ? [publicKey] : [])];

const spansOf = ({ addresses, podCIDRs }: ClusterNode): Span[] => [...addresses, ...podCIDRs].map((own) => own.span);

/** The first of the spans that does not begin before this one. */
const placeOf = (sorted: readonly Span[], span: Span): number =>
  firstWhere(sorted.length, (i) => byFirst(sorted[i]!, span) >= 0);

/** With more changes everything is put in order anew. */
const few = 64;

export class Claims {
  #nodes: readonly ClusterNode[] = [];
  #texts = new Set<string>();
  /** In order, none of which shares an address with another. */
  #spans: Readonly<Record<Family, Span[]>> = { 4: [], 6: [] };

  /** These nodes instead of those before. False: some of them clash, and nothing is taken any more. */
  take(nodes: readonly ClusterNode[]): boolean {
    const { gone, fresh } = changedItems(this.#nodes, nodes);
    const isMany = gone.length + fresh.length > few;
    if (!isMany) for (const node of gone) this.#remove(node);
    const isFine = isMany ? this.#takeAll(nodes) : fresh.every((node) => this.#add(node));
    if (isFine) this.#nodes = nodes;
    else this.#clear();
    return isFine;
  }

  #clear(): void {
    this.#nodes = [];
    this.#texts = new Set();
    this.#spans = { 4: [], 6: [] };
  }

  #takeAll(nodes: readonly ClusterNode[]): boolean {
    this.#clear();
    for (const node of nodes) if (!this.#addTexts(node)) return false;
    // one after the other: each kind is likely to be in order already
    for (const node of nodes) for (const { span } of node.addresses) this.#spans[span.family].push(span);
    for (const node of nodes) for (const { span } of node.podCIDRs) this.#spans[span.family].push(span);
    for (const spans of Object.values(this.#spans)) {
      spans.sort(byFirst);
      if (spans.some((span, i) => i > 0 && shareAddresses(spans[i - 1]!, span))) return false;
    }
    return true;
  }

  #addTexts(node: ClusterNode): boolean {
    const texts = textsOf(node);
    const known = this.#texts.size;
    for (const text of texts) this.#texts.add(text);
    return this.#texts.size === known + texts.length;
  }

  #add(node: ClusterNode): boolean {
    return this.#addTexts(node) && spansOf(node).every((span) => this.#addSpan(span));
  }

  #addSpan(span: Span): boolean {
    const spans = this.#spans[span.family];
    const at = placeOf(spans, span);
    if ([spans[at - 1], spans[at]].some((next) => next && shareAddresses(next, span))) return false;
    spans.splice(at, 0, span);
    return true;
  }

  #remove(node: ClusterNode): void {
    for (const text of textsOf(node)) this.#texts.delete(text);
    for (const span of spansOf(node)) this.#spans[span.family].splice(placeOf(this.#spans[span.family], span), 1);
  }
}

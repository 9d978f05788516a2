/**
 * What an operator must know of a node, for those whom a cluster source can tell: Kubernetes' Events. They are about this node alone.
 * What is wrong with a single other node has no reason here, or its 5,000 neighbours would all say so.
 */

export type Reason =
  /** The agent has not made the host once. */
  | 'NotReady'
  /** Something the kernel refuses, or that stands in the way. */
  | 'HostNotAsPlanned'
  | 'DuplicateAddress'
  /** Another program's chain drops what pods send. */
  | 'ForwardDropped'
  | 'NotInstalled'
  /** The runtime takes another network configuration. */
  | 'ForeignConflist'
  /** Mode auto has to do without its first choice. */
  | 'WayFallback'
  /** What was wanted of the whole cluster did not get through; the first node says so for all. */
  | 'ModeTakenBack';

/** Problems that have one reason; undefined: for the log and /readyz alone. */
export type Group = readonly [Reason | undefined, readonly string[]];

const shown = 3;

/** One text for each reason with problems. */
export function findingsOf(groups: readonly Group[]): Map<string, string> {
  const byReason = new Map<string, string[]>();
  for (const [reason, texts] of groups) {
    if (reason && texts.length > 0) byReason.set(reason, [...(byReason.get(reason) ?? []), ...texts]);
  }
  return new Map(
    [...byReason].map(([reason, texts]) => {
      const more = texts.length > shown ? `; and ${texts.length - shown} more` : '';
      return [reason, texts.slice(0, shown).join('; ') + more];
    }),
  );
}

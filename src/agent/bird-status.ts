/** What BIRD says of its sessions, and what a person should know of it. Pure. */

import type { BgpSession } from '../plan/bird.ts';

/** A session as BIRD has it. */
export interface SessionStatus {
  readonly name: string;
  readonly isUp: boolean;
  readonly imported: number;
  readonly exported: number;
  /** "Socket: Connection refused", "Received: Bad peer AS"; empty when there was none. */
  readonly lastError: string;
}

const first = (pattern: RegExp, text: string): string => pattern.exec(text)?.[1] ?? '';

/** The BGP sessions of `show protocols all`: a line at the margin for each, what belongs to it indented below. */
export function parseSessions(shown: string): Map<string, SessionStatus> {
  const blocks = shown.split(/^(?=\S)/m).filter((b) => /^\S+\s+BGP\s/.test(b));
  return new Map(
    blocks.map((block): [string, SessionStatus] => {
      const name = first(/^(\S+)/, block);
      return [
        name,
        {
          name,
          isUp: /^\s*BGP state:\s+Established$/m.test(block),
          imported: Number(first(/^\s*Routes:\s.*?(\d+) imported/m, block)),
          exported: Number(first(/^\s*Routes:\s.*?(\d+) exported/m, block)),
          lastError: first(/^\s*Last error:\s+(.+)$/m, block).trim(),
        },
      ];
    }),
  );
}

/** TCP segments that the kernel dropped for their signature (RFC 2385), by kind. */
export interface SignatureDrops {
  /** Signed with another password. */
  readonly wrong: number;
  /** Not signed, though we have a password. */
  readonly unsigned: number;
  /** Signed, though we have no password. */
  readonly unexpected: number;
}

/** From /proc/net/netstat: lines of names, each with a line of numbers after it. */
export function parseSignatureDrops(netstat: string): SignatureDrops {
  const lines = netstat.split('\n').filter((l) => l.startsWith('TcpExt:'));
  const [names = [], values = []] = lines.map((l) => l.split(' '));
  const of = (name: string): number => Number(values[names.indexOf(name)] ?? 0);
  return { wrong: of('TCPMD5Failure'), unsigned: of('TCPMD5NotFound'), unexpected: of('TCPMD5Unexpected') };
}

/** Why the kernel may be dropping a session's packets, from what it has dropped since the last look. */
export function suspicion(
  { passwordFile }: BgpSession,
  before: SignatureDrops,
  now: SignatureDrops,
): string | undefined {
  if (passwordFile === undefined) {
    return now.unexpected > before.unexpected ? 'the other side uses a password; set passwordFile' : undefined;
  }
  if (now.wrong > before.wrong) return `the password in ${passwordFile} is not that of the other side`;
  return now.unsigned > before.unsigned ? `the other side uses no password, we do (${passwordFile})` : undefined;
}

const hints: readonly [RegExp, string][] = [
  [/No listening socket/, 'TCP port 179 is taken: stop the other BGP speaker of this host ("ss -ltnp" names it)'],
  [/Connection refused/, 'nobody speaks BGP there, or it does not know this node as a neighbour'],
  [/Bad peer AS/, 'the two sides do not agree on the AS'],
  [/Received: Connection rejected/, 'the other side does not know this node as a neighbour'],
];

/** A session that is down, in words that stay the same while nothing changes. */
export function describeDown(session: BgpSession, status: SessionStatus | undefined, suspected?: string): string {
  const { peer, kind, address } = session;
  const who = kind === 'router' ? `router ${address}` : `node "${peer}" at ${address}`;
  const error = status?.lastError ?? '';
  const hint = suspected ?? hints.find(([pattern]) => pattern.test(error))?.[1];
  const why = suspected ? [suspected] : [error || 'no answer', ...(hint ? [hint] : [])];
  return `BGP session to ${who} is down: ${why.join('; ')}`;
}

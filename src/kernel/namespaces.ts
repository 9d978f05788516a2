/** Which network namespaces exist, as far as this process can see: those that processes are in, and those that are mounted somewhere. */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { type Address, parseAddress } from '../net/address.ts';

export interface NetworkNamespace {
  readonly inode: bigint;
  /** A process inside. */
  readonly pid?: number;
  /** Where it is mounted, as paths that can be opened from here. */
  readonly mounts: readonly string[];
}

export interface Namespaces {
  readonly network: ReadonlyMap<bigint, NetworkNamespace>;
  /** Mount namespaces that can be looked into. */
  readonly mount: ReadonlySet<bigint>;
  /** This process's own. */
  readonly own: { readonly network: bigint; readonly mount: bigint };
}

const numberOf = (link: string): bigint => BigInt(/\[(\d+)\]$/.exec(link)?.[1] ?? 0);

/** A process may end while it is being read: then there is nothing to say about it. */
function orNothing<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

const namespaceOf = (pid: string, kind: string): bigint | undefined =>
  orNothing(() => numberOf(readlinkSync(`/proc/${pid}/ns/${kind}`)));

/** Mount points in mountinfo (proc(5)) have blanks and the like as octal numbers. */
const unescapePath = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/** Network namespaces that are mounted in a process's mount namespace: "… 0:4 net:[4026532187] /run/netns/pod1 …". */
function mountedIn(pid: string, isOwn: boolean): [bigint, string][] {
  const lines = orNothing(() => readFileSync(`/proc/${pid}/mountinfo`, 'utf8')) ?? '';
  const found = lines.matchAll(/^\S+ \S+ \S+ net:\[(\d+)\] (\S+) /gm);
  return [...found].map(([, inode = '0', path = '']) => [
    BigInt(inode),
    `${isOwn ? '' : `/proc/${pid}/root`}${unescapePath(path)}`,
  ]);
}

export function readNamespaces(): Namespaces {
  const own = { network: namespaceOf('self', 'net') ?? 0n, mount: namespaceOf('self', 'mnt') ?? 0n };
  const found = new Map<bigint, { inode: bigint; pid?: number; mounts: string[] }>();
  const mount = new Set<bigint>();
  const at = (inode: bigint) => {
    const known = found.get(inode) ?? { inode, mounts: [] };
    found.set(inode, known);
    return known;
  };
  const look = (pid: string): void => {
    const network = namespaceOf(pid, 'net');
    if (network !== undefined) at(network).pid ??= Number(pid);
    const mounts = namespaceOf(pid, 'mnt');
    if (mounts === undefined || mount.has(mounts)) return;
    mount.add(mounts);
    for (const [inode, path] of mountedIn(pid, mounts === own.mount)) at(inode).mounts.push(path);
  };
  look('self');
  for (const name of readdirSync('/proc')) if (/^\d+$/.test(name)) look(name);
  return { network: found, mount, own };
}

/** A path by which a namespace can be entered from here. */
export const pathOf = ({ mounts, pid }: NetworkNamespace): string => mounts[0] ?? `/proc/${pid}/ns/net`;

/** The text of a table of the namespace a process is in; empty when the process has ended. */
const tableOf = (pid: number, name: string): string =>
  orNothing(() => readFileSync(`/proc/${pid}/net/${name}`, 'utf8')) ?? '';

/** Local addresses of the namespace that a process is in, without starting a program. */
export function addressesOf(pid: number): Address[] {
  const found4 = tableOf(pid, 'fib_trie').matchAll(/\|-- (\S+)\n\s+\/32 host LOCAL/g);
  const found6 = tableOf(pid, 'if_inet6').matchAll(/^([0-9a-f]{32}) /gm);
  return [
    ...[...found4].flatMap(([, text = '']) => parseAddress(text) ?? []),
    ...[...found6].map(([, hex = '']): Address => ({ family: 6, value: BigInt(`0x${hex}`) })),
  ];
}

/**
 * BIRD 2's configuration as text, in blocks with an empty line between them. Its tables are BIRD's own (`master4`, `master6`): what
 * is learnt goes from there into the kernel's main table as `proto bird`.
 *
 * The node's podCIDRs are announced as routes that are `unreachable`, and go into the kernel like that: a packet to a pod address
 * that no pod has ends here with an ICMP error. Without them it would follow the default route to the router, which has our
 * podCIDR from us, and come back until its TTL is used up. A pod's own route is longer, the bridge's comes first by its metric.
 *
 * A route reflector has a second table, `nodes4`, of all nodes' routes: only those that are its own way too go on into `master4`.
 */

import type { Family } from '../net/address.ts';

/** Prefixes that are believed, in BIRD's notation: "10.244.2.0/24", "10.0.0.0/8+". */
type BirdSet = readonly string[];

/** What to do with a prefix: the first that matches decides, none is a refusal. */
export interface ImportRule {
  readonly verdict: 'accept' | 'reject';
  /** Absent: every prefix. */
  readonly set?: BirdSet;
}

export interface BgpSession {
  /** BIRD's name for it. */
  readonly name: string;
  /** For people: "n2", "192.168.1.1". */
  readonly peer: string;
  /** `client`: a node whose routes we reflect; `reflector`: we both reflect; `router`: no node. */
  readonly kind: 'node' | 'client' | 'reflector' | 'router';
  readonly family: Family;
  readonly address: string;
  readonly as: number;
  readonly local: { readonly address: string; readonly as: number };
  /** Undefined: on a link of ours; `true`: any distance. */
  readonly multihop: number | true | undefined;
  readonly bfd: boolean;
  readonly passwordFile: string | undefined;
  /** The file beside the configuration that the password is copied to, so that the configuration holds none. */
  readonly passwordInclude: string | undefined;
  readonly imports: readonly ImportRule[];
}

export interface BirdShare {
  readonly family: Family;
  /** The podCIDRs to announce. */
  readonly pods: readonly string[];
  /** On a reflector: the podCIDRs, of all that it reflects, that are for its own kernel too. */
  readonly own: readonly string[] | undefined;
}

export interface BirdInput {
  readonly node: string;
  /** Of the routes in the kernel. */
  readonly metric: number;
  readonly routerId: string;
  readonly gracefulRestartSeconds: number;
  readonly shares: readonly BirdShare[];
  readonly sessions: readonly BgpSession[];
}

/** A restarted speaker leaves the kernel's routes alone until its neighbours have told all, at most so long. */
const recoverySeconds = 30;
/** A neighbour that says nothing for so long is gone; BFD notices within a second. */
const holdSeconds = 30;

const block = (head: string, lines: readonly string[]): string =>
  [`${head} {`, ...lines.map((line) => (line.startsWith('include ') ? line : `  ${line}`)), '}'].join('\n');

/** One prefix a line: a changed cluster is a changed line. `indent` is that of the line it stands in. */
function setOf(prefixes: readonly string[], indent: number): string {
  if (prefixes.length === 1) return `[ ${prefixes[0]} ]`;
  const [outer, inner] = [indent, indent + 2].map((n) => `\n${' '.repeat(n)}`);
  return `[${inner}${prefixes.join(`,${inner}`)}${outer}]`;
}

function importOf(rules: readonly ImportRule[]): string {
  const [first] = rules;
  if (rules.length === 1 && first?.verdict === 'accept' && first.set && first.set.length > 0) {
    return `import where net ~ ${setOf(first.set, 4)};`;
  }
  const lines = rules
    .filter(({ set }) => set === undefined || set.length > 0)
    .map(({ verdict, set }) => (set ? `if net ~ ${setOf(set, 6)} then ${verdict};` : `${verdict};`));
  if (!rules.some((r) => r.verdict === 'accept' && r.set?.length !== 0)) return 'import none;';
  const end = rules.at(-1)?.set ? ['  reject;'] : [];
  return ['import filter {', ...lines.map((l) => `  ${l}`), ...end, '};'].join('\n    ');
}

function kernel({ family, pods, own }: BirdShare, metric: number): string[] {
  const channel = `ipv${family}`;
  return [
    block(`protocol kernel kernel${family}`, [
      // other people's routes lead to next hops; those of pods (proto 67) lead nowhere but to pods
      'learn;',
      `metric ${metric};`,
      // it hears of everybody's changes but of those to its own routes: what somebody deletes is back in a second
      'scan time 1;',
      'graceful restart;',
      `${channel} { import where krt_source != 67; export where source ~ [ RTS_STATIC, RTS_BGP ]; };`,
    ]),
    block(`protocol static pods${family}`, [`${channel};`, ...pods.map((p) => `route ${p} unreachable;`)]),
    ...(own === undefined
      ? []
      : [
          `ipv${family} table nodes${family};`,
          block(`protocol pipe own${family}`, [
            `table nodes${family};`,
            `peer table master${family};`,
            own.length === 0 ? 'export none;' : `export where net ~ ${setOf(own, 2)};`,
            'import where source = RTS_STATIC;',
          ]),
        ]),
  ];
}

function channelOf(session: BgpSession): string {
  const { family, kind, imports } = session;
  const isReflecting = kind === 'client' || kind === 'reflector';
  const lines = [
    ...(isReflecting ? [`table nodes${family};`, `igp table master${family};`, 'next hop keep;'] : []),
    importOf(imports),
    `export ${isReflecting ? 'all' : 'where source = RTS_STATIC'};`,
  ];
  return [`ipv${family} {`, ...lines.map((l) => `  ${l}`), '};'].join('\n  ');
}

function protocol(session: BgpSession): string {
  const { name, address, as, local, multihop, bfd, passwordInclude, kind } = session;
  return block(`protocol bgp '${name}' from session`, [
    `local ${local.address} as ${local.as};`,
    `neighbor ${address} as ${as};`,
    ...(multihop === undefined ? [] : [multihop === true ? 'multihop;' : `multihop ${multihop};`]),
    ...(passwordInclude ? [`include "${passwordInclude}";`] : []),
    ...(bfd ? ['bfd;'] : []),
    ...(kind === 'client' && as === local.as ? ['rr client;'] : []),
    // a router tells us of nodes of our own AS; the import names which
    ...(kind === 'router' && as !== local.as ? ['allow local as 1;'] : []),
    channelOf(session),
  ]);
}

const template = (seconds: number): string =>
  block('template bgp session', [
    'strict bind;',
    `hold time ${holdSeconds};`,
    'connect delay time 1;',
    'connect retry time 5;',
    'error wait time 1, 30;',
    ...(seconds > 0 ? ['graceful restart;', `graceful restart time ${seconds};`] : ['graceful restart off;']),
  ]);

const bfdIntervals = 'interval 300 ms; multiplier 3;';

export function renderBird({ node, metric, routerId, gracefulRestartSeconds, shares, sessions }: BirdInput): string {
  const blocks = [
    [
      `# BIRD's configuration on node ${node}, written by culvert agent: changes made here are lost.`,
      'log syslog { fatal, bug, error, warning, auth };',
      `router id ${routerId};`,
      `graceful restart wait ${recoverySeconds};`,
    ].join('\n'),
    block('protocol device', []),
    // interfaces of pods lead to no next hop
    block('protocol direct', [...shares.map((s) => `ipv${s.family};`), 'interface "-veth*", "*";']),
    ...shares.flatMap((share) => kernel(share, metric)),
    ...(sessions.some((s) => s.bfd)
      ? [block('protocol bfd', [`interface "*" { ${bfdIntervals} };`, `multihop { ${bfdIntervals} };`])]
      : []),
    template(gracefulRestartSeconds),
    ...sessions.map(protocol),
  ];
  return `${blocks.join('\n\n')}\n`;
}

/** `culvert ipam`: the leases of this node, which of them are leaked, and how to be rid of those. */

import { parseArgs } from 'node:util';
import { type Command, exitCode, UsageError } from '../command.ts';
import { freeLeases } from '../ipam/free.ts';
import type { JudgedLease } from '../ipam/judge.ts';
import { defaultDataDir, type Place, survey } from '../ipam/survey.ts';
import type { Machine } from '../kernel/machine.ts';
import { equalAddress, formatAddress, parseAddress } from '../net/address.ts';
import { stat } from '../store/lease-files.ts';
import { leaseDocument, renderLeases, summary } from './ipam-table.ts';

const options = {
  'data-dir': { type: 'string', default: defaultDataDir },
  network: { type: 'string' },
  'older-than': { type: 'string', default: '0' },
  force: { type: 'boolean', default: false },
  'dry-run': { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
} as const;

type Values = ReturnType<typeof parseArgs<{ options: typeof options }>>['values'];

/** Which options a verb has besides those of all. */
const verbs: Record<string, readonly string[]> = {
  show: [],
  check: [],
  free: ['force'],
  sweep: ['dry-run', 'older-than'],
};

const say = (text: string): void => void process.stdout.write(`${text}\n`);
const sayJson = (document: object): void => say(JSON.stringify(document, null, 2));

/** The folder that was asked for has to be there; that of a node that never leased anything need not. */
function placeOf(values: Values): Place {
  const dataDir = values['data-dir'] ?? defaultDataDir;
  if (dataDir !== defaultDataDir && !stat(`${dataDir}/.`)) {
    throw new Error(`--data-dir: got "${dataDir}", want a folder of leases: there is none`);
  }
  return { dataDir, network: values.network };
}

async function show(values: Values, machine: Machine): Promise<number> {
  const { leases } = await survey(placeOf(values), machine);
  if (values.json) sayJson({ leases: leases.map(leaseDocument) });
  else say([...renderLeases(leases), summary(leases)].join('\n'));
  return exitCode.fine;
}

async function check(values: Values, machine: Machine): Promise<number> {
  const { leases, misspelt } = await survey(placeOf(values), machine);
  const wrong = leases.filter((l) => l.state !== 'live');
  if (values.json) sayJson({ problems: wrong.map(leaseDocument), misspelt });
  else {
    const lines = misspelt.map((m) => `${m.file}: the lease of ${m.address} under another spelling: remove the file`);
    say([...renderLeases(wrong), ...lines, summary(leases)].join('\n'));
    if (wrong.some((l) => l.state === 'leaked')) say('culvert ipam sweep frees the leaked ones');
  }
  return wrong.length + misspelt.length > 0 ? exitCode.problems : exitCode.fine;
}

async function sweep(values: Values, machine: Machine): Promise<number> {
  const place = placeOf(values);
  const seconds = Number(values['older-than']);
  if (!/^\d+$/.test(values['older-than'] ?? '')) {
    throw new UsageError(`--older-than: got "${values['older-than']}", want a whole number of seconds`);
  }
  const { leases } = await survey(place, machine);
  const leaked = leases.filter((l) => l.state === 'leaked' && l.ageMs >= seconds * 1000);
  const freed = values['dry-run'] ? leaked : await freeLeases(leaked, place, machine);
  const what = values['dry-run'] ? 'would be freed' : 'freed';
  if (values.json) sayJson({ [values['dry-run'] ? 'wouldFree' : 'freed']: freed.map(leaseDocument) });
  else say([...renderLeases(freed), `${freed.length} of ${leases.length} leases ${what}`].join('\n'));
  return values['dry-run'] && freed.length > 0 ? exitCode.problems : exitCode.fine;
}

/** The one lease of an address. Throws UsageError when it is leased in several networks and none was named. */
function only(found: readonly JudgedLease[], text: string): JudgedLease {
  const [lease] = found;
  if (!lease) throw new Error(`${text} is not leased`);
  if (found.length === 1) return lease;
  const networks = found.map((l) => l.network).join(', ');
  throw new UsageError(`free: ${text} is leased in ${networks}: add --network NAME`);
}

async function free(text: string, values: Values, machine: Machine): Promise<number> {
  const address = parseAddress(text);
  if (!address) throw new UsageError(`free: got "${text}", want an IPv4 or IPv6 address`);
  const place = placeOf(values);
  const { leases } = await survey(place, machine);
  const lease = only(
    leases.filter((l) => equalAddress(l.found.address, address)),
    formatAddress(address),
  );
  const isLive = lease.state === 'live';
  if (isLive && !values.force) return refuse(lease, `it is live (${lease.reason}); --force detaches it`, values);
  // a container that loses its interface has no use for its other addresses
  const isSameOwner = (l: JudgedLease) => l.network === lease.network && l.found.text === lease.found.text;
  const freed = await freeLeases(isLive ? leases.filter(isSameOwner) : [lease], place, machine, { links: isLive });
  if (!freed.includes(lease)) return refuse(lease, 'it was freed or leased again meanwhile', values);
  if (values.json) sayJson({ freed: freed.map(leaseDocument) });
  else
    say(
      freed
        .map((l) => `freed ${formatAddress(l.found.address)} of ${holderOf(l)} (${l.state}: ${l.reason})`)
        .join('\n'),
    );
  return exitCode.fine;
}

const holderOf = ({ network, found: { owner } }: JudgedLease): string =>
  `container ${owner.containerId || '(no name)'}, interface ${owner.ifname || '(no name)'} of network ${network}`;

function refuse(lease: JudgedLease, why: string, values: Values): number {
  if (values.json) sayJson({ freed: [], refused: why, lease: leaseDocument(lease) });
  else {
    const text = `${formatAddress(lease.found.address)} is leased to ${holderOf(lease)}: ${why}`;
    process.stderr.write(`culvert ipam free: ${text}\n`);
  }
  return exitCode.problems;
}

async function run(args: string[], machine: Machine): Promise<number> {
  const { values, positionals, tokens } = parseArgs({ args, options, allowPositionals: true, tokens: true });
  const [verb = '', address, ...extra] = positionals;
  const known = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined;
  if (!known) throw new UsageError(`got ${verb === '' ? 'nothing' : `"${verb}"`}, want show, check, free or sweep`);
  const given = tokens.flatMap((t) => (t.kind === 'option' ? [t.name] : []));
  const others = Object.values(verbs).flat();
  const wrong = given.find((name) => others.includes(name) && !known.includes(name));
  if (wrong) throw new UsageError(`${verb}: got --${wrong}, which ${verb} has not`);
  if (verb === 'free' && address === undefined) throw new UsageError('free: want an address');
  const surplus = verb === 'free' ? extra[0] : address;
  if (surplus !== undefined) throw new UsageError(`${verb}: unexpected argument "${surplus}"`);
  switch (verb) {
    case 'show':
      return show(values, machine);
    case 'check':
      return check(values, machine);
    case 'sweep':
      return sweep(values, machine);
    default:
      return free(address!, values, machine);
  }
}

export const ipam: Command = {
  name: 'ipam',
  summary: 'leased addresses: which are in use, which are leaked; frees the leaked ones',
  help: `usage: culvert ipam show|check [--data-dir DIR] [--network NAME] [--json]
       culvert ipam sweep [--dry-run] [--older-than SECONDS] [--data-dir DIR] [--network NAME] [--json]
       culvert ipam free ADDRESS [--force] [--data-dir DIR] [--network NAME] [--json]

show lists every lease with its state, check only those with which something is wrong, sweep frees the leaked ones, free one
address. What belongs to a freed lease by our marks goes with it: masquerade, port mappings, the firewall's address.

  --data-dir DIR        where the leases are (default ${defaultDataDir})
  --network NAME        of this network only
  --dry-run             say what would be freed, free nothing
  --older-than SECONDS  leave younger leases alone (default 0)
  --force               free a live lease as well: the container loses its interface and all its leases of that network
  --json                for programs

States: live (its namespace, interface or address is there), leaked (leased in an earlier boot, or its namespace is gone),
duplicate (one attachment with two leases, one address leased twice), foreign (another suite leased it, and it cannot be told
whether it is in use), unknown (nor can it of ours). Only leaked ones are ever swept. To be run as root in the host's own network
namespace.

Exit codes: 0 fine, 1 found problems (check: any lease that is not live; sweep --dry-run: something to free; free: refused),
2 wrong usage, 3 could not look.`,
  run,
};

/** Changes → the lines an engineer could type: what `apply` feeds to `ip -batch`, `bridge -batch` and `nft -f`, and `plan` prints. */

import type { Change, LinkAttributes } from './diff.ts';
import type { LinkState, PeerState, RouteState, RuleState, TableState, VlanState } from './host.ts';

/** A line for one of the programs; `sysctl` lines are "key=value". */
export interface Line {
  program: 'ip' | 'ip -6' | 'bridge' | 'wg' | 'ethtool' | 'sysctl' | 'nft';
  text: string;
}

const words = (...parts: (string | number | false | undefined)[]): string =>
  parts.filter((p) => p !== undefined && p !== false && p !== '').join(' ');

/** A quoted word of a batch file; quotes and backslashes cannot stand in one and are dropped from labels. */
const quoted = (text: string): string => `"${text.replaceAll(/["\\\n]/g, '')}"`;

const onOff = (value: boolean): string => (value ? 'on' : 'off');

/** In ethtool's words. */
export const txChecksumFeature = 'tx-checksum-ip-generic';

function renderAddLink({ name, make, mtu, address }: LinkState): string {
  const head = words(
    'link add name',
    name,
    'link' in make && `link ${make.link}`,
    address && `address ${address}`,
    mtu !== undefined && `mtu ${mtu}`,
    'netns' in make && `netns ${make.netns}`,
  );
  switch (make.kind) {
    case 'bridge':
      return words(head, 'type bridge', make.vlanFiltering && 'vlan_filtering 1');
    case 'veth': {
      const p = make.peer;
      return words(
        head,
        'type veth',
        p &&
          words(
            'peer name',
            p.name,
            p.address && `address ${p.address}`,
            p.mtu !== undefined && `mtu ${p.mtu}`,
            p.netns && `netns ${p.netns}`,
          ),
      );
    }
    case 'ifb':
      return words(head, 'type ifb');
    case 'vxlan':
      return words(
        head,
        'type vxlan id',
        make.id,
        'local',
        make.local,
        make.device && `dev ${make.device}`,
        'dstport',
        make.port,
        'nolearning',
      );
    case 'ipip':
      // a fixed TTL, since that of the packet inside would leave `don't fragment` off, and with it the discovery of a smaller MTU
      return words(head, 'type ipip local', make.local, 'ttl 64');
    case 'ip6tnl':
      return words(head, 'type ip6tnl', make.external && 'external');
    case 'wireguard':
      return words(head, 'type wireguard');
    case 'macvlan':
      return words(head, 'type macvlan mode', make.mode, make.bcqueuelen && `bcqueuelen ${make.bcqueuelen}`);
    case 'ipvlan':
      return words(head, 'type ipvlan mode', make.mode);
    case 'vlan':
      return words(head, 'type vlan id', make.id);
    case 'dummy':
      return words(head, 'type dummy');
    case 'vrf':
      return words(head, 'type vrf table', make.table);
    case 'given':
      throw new Error(`link ${name} is made by somebody else`);
    default:
      return make satisfies never;
  }
}

function renderSetLink(name: string, set: LinkAttributes): Line[] {
  const attributes = words(
    set.address && `address ${set.address}`,
    set.mtu !== undefined && `mtu ${set.mtu}`,
    set.master !== undefined && (set.master === '' ? 'nomaster' : `master ${set.master}`),
    set.promisc !== undefined && `promisc ${onOff(set.promisc)}`,
    set.alias !== undefined && `alias ${quoted(set.alias)}`,
    set.up !== undefined && (set.up ? 'up' : 'down'),
  );
  // refused for a link being made, and of no effect once it is up
  const mode = words(set.addrGenMode && `addrgenmode ${set.addrGenMode}`);
  // a port's attributes are refused in the same request that makes it a port
  const port = words(
    set.hairpin !== undefined && `hairpin ${onOff(set.hairpin)}`,
    set.isolated !== undefined && `isolated ${onOff(set.isolated)}`,
  );
  return [
    ...(set.txChecksum === undefined ? [] : ethtool(`-K ${name} ${txChecksumFeature} ${onOff(set.txChecksum)}`)),
    ...[
      mode && `link set dev ${name} ${mode}`,
      attributes && `link set dev ${name} ${attributes}`,
      port && `link set dev ${name} type bridge_slave ${port}`,
    ]
      .filter((l) => l !== '')
      .flatMap(ip),
  ];
}

function renderRoute(r: RouteState): string {
  return words(
    r.prefix,
    // without a hop limit of its own the outer header takes that of the packet inside, and a traceroute would end on the way
    r.encapDst && `encap ip6 dst ${r.encapDst} hoplimit 64`,
    r.via && `via ${r.via}`,
    r.dev && `dev ${r.dev}`,
    r.protocol && `proto ${r.protocol}`,
    r.scope && `scope ${r.scope}`,
    r.src && `src ${r.src}`,
    r.metric !== undefined && `metric ${r.metric}`,
    r.table !== undefined && `table ${r.table}`,
    r.mtuBytes !== undefined && `mtu ${r.mtuBytes}`,
    r.advmssBytes !== undefined && `advmss ${r.advmssBytes}`,
    r.onlink && 'onlink',
  );
}

const routeIdentity = (r: RouteState): string =>
  words(
    r.prefix,
    r.dev && `dev ${r.dev}`,
    r.protocol && `proto ${r.protocol}`,
    r.metric !== undefined && `metric ${r.metric}`,
    r.table !== undefined && `table ${r.table}`,
  );

/** Keys that have to stay secret are named by file; an empty file takes a preshared key away. */
const renderPeer = (peer: PeerState, was: PeerState | undefined): string =>
  words(
    'set',
    peer.dev,
    'peer',
    peer.publicKey,
    peer.presharedKeyFile ? `preshared-key ${peer.presharedKeyFile}` : was?.preshared && 'preshared-key /dev/null',
    `endpoint ${peer.endpoint}`,
    `persistent-keepalive ${peer.keepaliveSeconds}`,
    `allowed-ips ${peer.allowedIps}`,
  );

/** ip reads the family off every address but a rule's. The kernel picks the priority, before the main table's. */
const renderRule = (verb: 'add' | 'delete', { from, table }: RuleState): Line[] => [
  { program: from.includes(':') ? 'ip -6' : 'ip', text: `rule ${verb} from ${from} table ${table}` },
];

const renderVlan = (v: VlanState): string =>
  words('dev', v.dev, 'vid', v.vid, v.pvid && 'pvid', v.untagged && 'untagged');

/** One transaction that makes the table what the text says, whatever it was. */
const renderTable = (t: TableState): string =>
  `add table ${t.family} ${t.name}\ndelete table ${t.family} ${t.name}\n${t.text}\n`;

/**
 * IPv6: no wait for duplicate address detection, a second or two in which the address could not be used; ours are allocated.
 * IPv4: the subnet's broadcast address, which iproute2 sets only when told to.
 */
const addressFlag = (address: string): string | false =>
  address.includes(':') ? 'nodad' : !/\/3[12]$/.test(address) && 'brd +';

const ip = (text: string): Line[] => [{ program: 'ip', text }];
const bridge = (text: string): Line[] => [{ program: 'bridge', text }];
const wg = (text: string): Line[] => [{ program: 'wg', text }];
const ethtool = (text: string): Line[] => [{ program: 'ethtool', text }];
const nft = (text: string): Line[] => [{ program: 'nft', text }];

export function render(change: Change): Line[] {
  switch (change.op) {
    case 'add-link':
      return ip(renderAddLink(change.link));
    case 'set-link':
      return renderSetLink(change.name, change.set);
    case 'move-link': {
      const { name, netns, alias, group } = change.to;
      return ip(
        words(
          `link set dev ${change.name}`,
          netns && `netns ${netns}`,
          `name ${name}`,
          alias !== undefined && `alias ${quoted(alias)}`,
          group !== undefined && `group ${group}`,
        ),
      );
    }
    case 'delete-link':
      return ip(`link delete dev ${change.name}`);
    case 'set-sysctl':
      return [{ program: 'sysctl', text: `${change.sysctl.key}=${change.sysctl.value}` }];
    case 'add-address':
      return ip(
        words(
          'address replace',
          change.address.address,
          'dev',
          change.address.dev,
          addressFlag(change.address.address),
        ),
      );
    case 'delete-address':
      return ip(`address delete ${change.address.address} dev ${change.address.dev}`);
    case 'add-vlan':
      return bridge(`vlan add ${renderVlan(change.vlan)}`);
    case 'delete-vlan':
      return bridge(`vlan delete dev ${change.vlan.dev} vid ${change.vlan.vid}`);
    case 'replace-neighbour':
      return ip(
        `neighbour replace ${change.neighbour.address} lladdr ${change.neighbour.mac} dev ${change.neighbour.dev} nud permanent`,
      );
    case 'delete-neighbour':
      return ip(`neighbour delete ${change.neighbour.address} dev ${change.neighbour.dev}`);
    case 'replace-fdb':
      return bridge(`fdb replace ${change.fdb.mac} dev ${change.fdb.dev} dst ${change.fdb.dst} self permanent`);
    case 'delete-fdb':
      return bridge(`fdb delete ${change.fdb.mac} dev ${change.fdb.dev} dst ${change.fdb.dst} self`);
    case 'set-wireguard': {
      const { dev, listenPort, privateKeyFile } = change.wireguard;
      return wg(words('set', dev, `listen-port ${listenPort}`, privateKeyFile && `private-key ${privateKeyFile}`));
    }
    case 'replace-peer':
      return wg(renderPeer(change.peer, change.was));
    case 'delete-peer':
      return wg(`set ${change.peer.dev} peer ${change.peer.publicKey} remove`);
    case 'replace-route':
      return ip(`route replace ${renderRoute(change.route)}`);
    case 'delete-route':
      return ip(`route delete ${routeIdentity(change.route)}`);
    case 'add-rule':
      return renderRule('add', change.rule);
    case 'delete-rule':
      return renderRule('delete', change.rule);
    case 'replace-table':
      return nft(renderTable(change.table));
    case 'delete-table':
      return nft(
        `add table ${change.table.family} ${change.table.name}\ndelete table ${change.table.family} ${change.table.name}\n`,
      );
    default:
      return change satisfies never;
  }
}

/** A line as it would be typed in a shell. */
export const asCommand = (line: Line): string =>
  line.program === 'nft'
    ? `nft -f - <<'END'\n${line.text}END`
    : line.program === 'sysctl'
      ? `sysctl -w ${line.text}`
      : `${line.program} ${line.text}`;

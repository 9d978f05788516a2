/** A namespace that exists only as data: takes changes one after another as the kernel would, refusing what the kernel refuses. */

import type { Change } from '../../src/plan/diff.ts';
import { emptyState, type NamespaceState } from '../../src/plan/host.ts';

export class FakeNamespace {
  state: NamespaceState = emptyState();

  apply(changes: readonly Change[]): void {
    for (const change of changes) this.#one(change);
  }

  #link(name: string) {
    const link = this.state.links.find((l) => l.name === name);
    if (!link) throw new Error(`Cannot find device "${name}"`);
    return link;
  }

  /** Puts an item in the place of the one with the same key, on a link that exists. */
  #put<T extends { dev?: string }>(list: T[], item: T, same: (other: T) => boolean): void {
    if (item.dev && item.dev !== 'eth0') this.#link(item.dev);
    const at = list.findIndex(same);
    if (at < 0) list.push(item);
    else list[at] = item;
  }

  #take<T>(list: T[], same: (other: T) => boolean): void {
    const at = list.findIndex(same);
    if (at < 0) throw new Error('No such file or directory');
    list.splice(at, 1);
  }

  #deleteLink(name: string): void {
    this.#take(this.state.links, (l) => l.name === name);
    for (const key of ['addresses', 'routes', 'neighbours', 'fdb', 'wireguards', 'peers', 'vlans'] as const) {
      (this.state[key] as { dev?: string }[]) = this.state[key].filter((item) => item.dev !== name);
    }
    this.state.sysctls = this.state.sysctls.filter((s) => !s.key.split('/').includes(name));
  }

  #one(c: Change): void {
    const s = this.state;
    switch (c.op) {
      case 'add-link': {
        if (s.links.some((l) => l.name === c.link.name)) throw new Error('File exists');
        const { name, make, address, mtu } = c.link;
        s.links.push({ name, make, ...(address && { address }), ...(mtu && { mtu }) });
        return;
      }
      case 'set-link':
        Object.assign(this.#link(c.name), c.set);
        return;
      case 'delete-link':
        this.#deleteLink(c.name);
        return;
      case 'move-link':
        this.#link(c.name).name = c.to.name;
        return;
      case 'set-sysctl':
        s.sysctls = [...s.sysctls.filter((x) => x.key !== c.sysctl.key), c.sysctl];
        return;
      case 'add-address':
        this.#put(s.addresses, c.address, (a) => a.dev === c.address.dev && a.address === c.address.address);
        return;
      case 'delete-address':
        this.#take(s.addresses, (a) => a.dev === c.address.dev && a.address === c.address.address);
        return;
      case 'add-vlan':
        this.#put(s.vlans, c.vlan, (v) => v.dev === c.vlan.dev && v.vid === c.vlan.vid);
        return;
      case 'delete-vlan':
        this.#take(s.vlans, (v) => v.dev === c.vlan.dev && v.vid === c.vlan.vid);
        return;
      case 'replace-neighbour':
        this.#put(s.neighbours, c.neighbour, (n) => n.address === c.neighbour.address);
        return;
      case 'delete-neighbour':
        this.#take(s.neighbours, (n) => n.address === c.neighbour.address);
        return;
      case 'replace-fdb':
        this.#put(s.fdb, c.fdb, (f) => f.mac === c.fdb.mac);
        return;
      case 'delete-fdb':
        this.#take(s.fdb, (f) => f.mac === c.fdb.mac);
        return;
      case 'set-wireguard':
        this.#put(s.wireguards, c.wireguard, (w) => w.dev === c.wireguard.dev);
        return;
      case 'replace-peer': {
        this.#put(s.peers, c.peer, (p) => p.publicKey === c.peer.publicKey);
        // an allowed IP belongs to one peer: the last that got it
        const taken = c.peer.allowedIps.split(',');
        const without = (ips: string): string =>
          ips
            .split(',')
            .filter((ip) => !taken.includes(ip))
            .join(',');
        s.peers = s.peers.map((p) =>
          p.publicKey === c.peer.publicKey ? p : { ...p, allowedIps: without(p.allowedIps) },
        );
        return;
      }
      case 'delete-peer':
        this.#take(s.peers, (p) => p.publicKey === c.peer.publicKey);
        return;
      case 'replace-route':
        this.#put(s.routes, c.route, (r) => r.prefix === c.route.prefix);
        return;
      case 'delete-route':
        this.#take(s.routes, (r) => r.prefix === c.route.prefix && r.dev === c.route.dev);
        return;
      case 'add-rule':
        s.rules.push(c.rule);
        return;
      case 'delete-rule':
        s.rules = s.rules.filter((r) => r.from !== c.rule.from || r.table !== c.rule.table);
        return;
      case 'replace-table':
        s.tables = [...s.tables.filter((t) => t.name !== c.table.name), c.table];
        return;
      case 'delete-table':
        this.#take(s.tables, (t) => t.name === c.table.name);
        return;
      default:
        c satisfies never;
    }
  }

  /** The state as sorted lines, for comparison. */
  get text(): string {
    return Object.entries(this.state)
      .flatMap(([kind, items]) => (items as object[]).map((i) => `${kind} ${JSON.stringify(i, Object.keys(i).sort())}`))
      .sort()
      .join('\n');
  }
}

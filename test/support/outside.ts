/** A machine beyond the host: joined by a link, it remembers the source address of every packet that reaches it. */

import { Host, run } from './netns.ts';

const families = [
  { ip: 'ip', type: 'ipv4_addr', icmp: 'icmp type echo-request' },
  { ip: 'ip6', type: 'ipv6_addr', icmp: 'icmpv6 type echo-request' },
] as const;

export class Outside {
  static readonly addresses = ['192.0.2.2', '2001:db8::2'] as const;
  readonly #machine = new Host('o');

  get netns(): string {
    return this.#machine.netns;
  }

  /** The host gets 192.0.2.1 and 2001:db8::1 on uplink0; the way back to the pods goes by them. */
  constructor(host: Host, podPrefixes: readonly string[] = ['10.1.0.0/16', 'fd00:1::/32']) {
    run(['ip', '-n', host.name, ...`link add uplink0 type veth peer name far0 netns ${this.#machine.name}`.split(' ')]);
    const ends = [
      { machine: host, dev: 'uplink0', own: '1', routes: [] },
      { machine: this.#machine, dev: 'far0', own: '2', routes: podPrefixes },
    ];
    for (const { machine, dev, own, routes } of ends) {
      // without duplicate address detection: a link-local address is needed at once, to ask for neighbours
      machine.exec(`sysctl -qw net.ipv6.conf.${dev}.accept_dad=0`);
      const addresses = [`addr add 192.0.2.${own}/24 dev ${dev}`, `addr add 2001:db8::${own}/64 dev ${dev}`];
      const back = routes.map((p) => `route add ${p} via ${p.includes(':') ? '2001:db8::1' : '192.0.2.1'}`);
      machine.exec('ip -batch -', `${[...addresses, `link set ${dev} up`, ...back].join('\n')}\n`);
    }
    const sets = families.map((f) => `set seen_${f.ip} { type ${f.type}; flags dynamic; timeout 1h; }`);
    const rules = families.map((f) => `${f.icmp} update @seen_${f.ip} { ${f.ip} saddr }`);
    const chain = `chain input { type filter hook input priority 0; ${rules.join('; ')}; }`;
    this.#machine.exec('nft -f -', `table inet seen { ${sets.join('\n')}\n${chain}\n}`);
  }

  /** Source addresses of the pings that have come, since the last question. */
  seen(family: 4 | 6): string[] {
    const set = `inet seen seen_${family === 4 ? 'ip' : 'ip6'}`;
    const list = this.#machine.exec(`nft -j list set ${set}`);
    this.#machine.exec(`nft flush set ${set}`);
    const { nftables } = JSON.parse(list) as { nftables: { set?: { elem?: { elem: { val: string } }[] } }[] };
    return (nftables.find((n) => n.set)?.set?.elem ?? []).map((e) => e.elem.val);
  }

  remove(): void {
    this.#machine.remove();
  }
}

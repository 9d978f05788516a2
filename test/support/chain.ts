/** Attachments made by a list of plugins: the bridge br0 first, then the one under test with the bridge's result. */

import { attach, dualStack } from './bridge.ts';
import type { Answer, Host } from './netns.ts';
import { type CniResult, fine, type Pod, resultOf } from './pod.ts';

type Conf = Record<string, unknown>;

/** A pod on the bridge and a chained plugin's configuration for it. */
export class Chained {
  readonly pod: Pod;
  readonly previous: CniResult;
  readonly conf: Conf;

  constructor(host: Host, conf: Conf, options: { id?: string; keys?: Conf; ipam?: Conf } = {}) {
    const { keys = {}, ipam = dualStack, ...rest } = options;
    host.exec('sysctl -qw net.ipv6.conf.default.accept_dad=0'); // else two seconds pass until a pod is reached by IPv6
    this.pod = attach(host, { isDefaultGateway: true, ...keys }, { ipam, ...rest });
    this.previous = this.pod.add();
    this.conf = { cniVersion: '1.1.0', name: 'net', ...conf };
  }

  get netns(): string {
    return this.pod.netns;
  }

  address(family: 4 | 6): string {
    return this.previous.ips!.find((ip) => ip.address.includes(':') === (family === 6))!.address.split('/')[0]!;
  }

  call(command: string, more: Conf = {}): Answer {
    const plugin = String(this.conf['type']);
    const { id: containerId, netns, ifname } = this.pod;
    const conf = { ...this.conf, prevResult: this.previous, ...more };
    return this.pod.host.call({ plugin, command, conf, containerId, netns, ifname });
  }

  add(): CniResult {
    return resultOf(this.call('ADD'));
  }

  del(more: Conf = {}): void {
    fine(this.call('DEL', more));
  }

  /** DEL of both, in the order of a runtime: the last plugin first. */
  remove(): void {
    this.del();
    this.pod.del();
  }
}

/** A container's attachment to a network, driven as a runtime drives it: one configuration, ADD, CHECK with its result, DEL. */

import { type Answer, type Call, type Host, inside, run } from './netns.ts';

/** The result of ADD in the shapes of 0.3.0 and later. */
export interface CniResult {
  cniVersion: string;
  interfaces?: { name: string; mac?: string; sandbox?: string; mtu?: number }[];
  ips?: { version?: string; address: string; gateway?: string; interface?: number }[];
  routes?: Record<string, unknown>[];
  dns?: Record<string, unknown>;
}

/** The error object of specification section 5. */
export interface CniFailure {
  cniVersion?: string;
  code: number;
  msg: string;
  details?: string;
}

/** The error object of a failed execution; throws when it succeeded or what it printed is no error object. */
export function failureOf(answer: Answer): CniFailure {
  const json = answer.json as CniFailure | undefined;
  if (answer.status === 0) throw new Error(`expected an error, got exit 0: ${answer.stdout}`);
  if (!json || typeof json.code !== 'number' || typeof json.msg !== 'string') {
    throw new Error(`expected an error object, got exit ${answer.status}: ${answer.stdout}${answer.stderr}`);
  }
  return json;
}

/** The result of a successful ADD; throws with the plugin's words otherwise. */
export function resultOf(answer: Answer): CniResult {
  if (answer.status !== 0 || !answer.json) {
    throw new Error(`exit ${answer.status}: ${answer.stdout}${answer.stderr}`);
  }
  return answer.json as unknown as CniResult;
}

/** Asserts that a command that answers nothing succeeded. */
export function fine(answer: Answer): void {
  if (answer.status !== 0 || answer.stdout !== '') {
    throw new Error(`exit ${answer.status}: ${answer.stdout}${answer.stderr}`);
  }
}

type Conf = Record<string, unknown>;
type Extra = Partial<Omit<Call, 'plugin' | 'command' | 'conf'>>;

let serial = 0;

export class Pod {
  readonly host: Host;
  readonly conf: Conf;
  readonly id: string;
  readonly netns: string;
  readonly ifname = 'eth0';

  constructor(host: Host, conf: Conf, id = `pod-${serial++}`, netns = host.pod()) {
    this.host = host;
    this.conf = conf;
    this.id = id;
    this.netns = netns;
  }

  /** One execution of the configuration's plugin. */
  call(command: string, extra: Extra & { conf?: unknown } = {}): Answer {
    const plugin = String(this.conf['type']);
    const names = { containerId: this.id, netns: this.netns, ifname: this.ifname };
    return this.host.call({ plugin, command, conf: this.conf, ...names, ...extra });
  }

  add(extra: Extra = {}): CniResult {
    return resultOf(this.call('ADD', extra));
  }

  /** DEL, asserted to succeed. */
  del(extra: Extra = {}): void {
    fine(this.call('DEL', extra));
  }

  /** CHECK with what ADD answered. */
  check(prevResult: CniResult): Answer {
    return this.call('CHECK', { conf: { ...this.conf, prevResult } });
  }

  /** A command line in the container, split at blanks. */
  exec(line: string): string {
    return run(inside(this.netns, line));
  }

  /** `ip` in the container, its JSON. */
  ip<T = Record<string, unknown>>(line: string): T[] {
    const text = this.exec(`ip -j ${line}`);
    return text.trim() === '' ? [] : (JSON.parse(text) as T[]);
  }

  /** Whether one packet to the address is answered. */
  pings(address: string): boolean {
    try {
      this.exec(`ping -n -c 1 -W 2 ${address}`);
      return true;
    } catch {
      return false;
    }
  }
}

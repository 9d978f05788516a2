/** A node: a machine with the product on it, set up by the script that also sets up Vagrant's machines. */

import { digestOf } from '../../../src/cluster/file.ts';
import type { Node } from '../../../src/lab/topology.ts';
import { type Family, parseAddress } from '../../../src/net/address.ts';
import type { Vm } from './vm.ts';

/** What the provisioning script takes its files from. */
const files = '/tmp/culvert';

/** Where the agent answers, on all addresses of the node. */
export const agentPort = 9467;

/** The text and the line break at its end, which it may have already. */
const place = (name: string, text: string): string => `cat >${files}/${name} <<'END'\n${text.trimEnd()}\nEND`;

export interface Pinged {
  sent: number;
  lost: number;
}

/** A pod by its node: a namespace there, attached by the plugin. */
export interface Pod {
  name: string;
  addresses: Partial<Record<Family, string>>;
}

export class LabNode {
  readonly spec: Node;
  readonly vm: Vm;
  readonly pods: Pod[] = [];
  readonly #network: string;
  /** The settings that the agent was started with. */
  #agent = '';

  constructor(spec: Node, vm: Vm, network: string) {
    this.spec = spec;
    this.vm = vm;
    this.#network = network;
  }

  get name(): string {
    return this.spec.name;
  }

  /** Addresses, routes and sysctls: what a distribution's own network set-up does at every boot. */
  async wire(): Promise<void> {
    await this.vm.exec(`set -e\n${this.#network}`);
  }

  /** Its WireGuard key, made where there is none. */
  async publicKey(): Promise<string> {
    const config = `${files}/keys.yaml`;
    const cluster = { source: 'file', file: `${files}/cluster.yaml` };
    const text = JSON.stringify({ node: this.name, cluster, mode: 'wireguard' });
    await this.vm.exec(`mkdir -p ${files}\n${place('keys.yaml', text)}`);
    const answer = await this.vm.exec(`/project/dist/bin/culvert keys --json --config ${config}`);
    return (JSON.parse(answer) as { publicKey: string }).publicKey;
  }

  /**
   * Installs the product with this configuration and starts the agent; one that runs with the same settings goes on, and takes up
   * the new cluster. Resolves when it has.
   */
  async provision(config: { cluster: string; agent: object }): Promise<void> {
    const agent = JSON.stringify({ ...config.agent, node: this.name, listen: `[::]:${agentPort}` });
    if (agent === this.#agent) await this.writeCluster(config.cluster);
    else {
      await this.vm.exec(
        [
          `set -e; mkdir -p ${files}`,
          `ln -sf /project/dist/bin/culvert /project/dist/bin/culvert-node ${files}/`,
          `ln -sf /project/conf/culvert-agent.service /project/vagrant/pod ${files}/`,
          place('cluster.yaml', config.cluster),
          place('agent.yaml', agent), // YAML takes JSON
          'bash /project/vagrant/provision.sh node',
        ].join('\n'),
      );
      this.#agent = agent;
    }
    await this.#until(`/status | grep -q '"cluster":"${digestOf(config.cluster)}"'`);
  }

  /** A new cluster file, for the agent to take up. */
  async writeCluster(text: string): Promise<void> {
    await this.vm.exec(`set -e\n${place('cluster.yaml', text)}\nmv ${files}/cluster.yaml /etc/culvert/`);
  }

  /** Starts the agent as a boot does, or again. */
  async startAgent(): Promise<void> {
    await this.vm.exec('bash /project/vagrant/provision.sh agent');
  }

  ready(): Promise<void> {
    return this.#until('/readyz >/dev/null');
  }

  /** Asks the agent until it answers as wanted. */
  async #until(wanted: string, seconds = 60): Promise<void> {
    const { exitCode } = await this.vm.run(`for i in $(seq ${seconds * 5}); do
      curl -sf http://127.0.0.1:${agentPort}${wanted} && exit
      sleep 0.2
    done; exit 1`);
    if (exitCode !== 0) throw new Error(`the agent of ${this.name} is not ready: ${await this.agentLog()}`);
  }

  agentLog(): Promise<string> {
    return this.vm.exec('tail -20 /var/log/culvert-agent.log');
  }

  async addPod(name: string): Promise<Pod> {
    const result = JSON.parse(await this.vm.exec(`pod add ${name}`)) as { ips: { address: string }[] };
    const addresses = Object.fromEntries(
      result.ips.map(({ address }) => {
        const parsed = parseAddress(address.split('/')[0]!)!;
        return [parsed.family, address.split('/')[0]!];
      }),
    );
    const pod = { name, addresses };
    this.pods.push(pod);
    return pod;
  }

  async removePod(name: string): Promise<void> {
    await this.vm.exec(`pod del ${name}`);
    this.pods.splice(0, this.pods.length, ...this.pods.filter((p) => p.name !== name));
  }

  /** Pings from a pod, one address after the other at the same time; answers those that did not answer within the seconds. */
  async unreachable(pod: string, addresses: readonly string[], seconds = 30): Promise<string[]> {
    const script = addresses
      .map((a) => `{ ip netns exec ${pod} ping -nqc1 -w${seconds} -i0.5 ${a} >/dev/null || echo ${a}; } &`)
      .join('\n');
    return (await this.vm.exec(`${script}\nwait`)).split('\n').filter((line) => line !== '');
  }

  /** A stream of pings from a pod. */
  async stream(
    pod: string,
    address: string,
    { count, intervalSeconds }: { count: number; intervalSeconds: number },
  ): Promise<Pinged> {
    const { stdout } = await this.vm.run(`ip netns exec ${pod} ping -nqc${count} -i${intervalSeconds} -W5 ${address}`);
    const match = /(\d+) packets transmitted, (\d+) received/.exec(stdout);
    if (!match) throw new Error(`ping ${address} from ${pod}: ${stdout}`);
    return { sent: Number(match[1]), lost: Number(match[1]) - Number(match[2]) };
  }

  /** Off and on again, in order or like a power cut; pods are gone as after any reboot, files are not. Nothing is started. */
  async restart(how: 'orderly' | 'power cut'): Promise<void> {
    this.pods.length = 0;
    if (how === 'orderly') await this.vm.reboot();
    else {
      await this.vm.off();
      await this.vm.boot();
    }
    await this.wire();
  }

  /** The same, and its agent runs again. */
  async reboot(how: 'orderly' | 'power cut'): Promise<void> {
    await this.restart(how);
    await this.startAgent();
    await this.ready();
  }
}
